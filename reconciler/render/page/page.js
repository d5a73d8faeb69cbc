"use strict";
// Everything to read is on the page already. This hides and orders it, and builds nothing out of what it reads.
(() => {
  const root = document.documentElement;
  const one = (selector, from = document) => from.querySelector(selector);
  const all = (selector, from = document) => [...from.querySelectorAll(selector)];
  const number = new Intl.NumberFormat("en");
  const amount = (count, noun) => `${number.format(count)} ${noun}${count === 1 ? "" : "s"}`;

  // Storage may be refused, as for a page that was opened from a file.
  const kept = (store, name) => { try { return window[store].getItem(name); } catch { return null; } };
  const keep = (store, name, value) => { try { window[store].setItem(name, value); } catch { /* then not */ } };

  for (const element of all("[data-scripted]")) element.hidden = false;

  const theme = one("#theme");
  const dress = (name) => { if (name) root.dataset.theme = name; else delete root.dataset.theme; };
  theme.value = ["light", "dark"].includes(kept("localStorage", "reconciler.theme")) ? kept("localStorage", "reconciler.theme") : "";
  dress(theme.value);
  theme.addEventListener("change", () => { dress(theme.value); keep("localStorage", "reconciler.theme", theme.value); });

  // --- what is listed: groups (one tbody each, a resource or a problem) with rows

  const place = `reconciler.page ${location.pathname}`;
  const groups = all("[data-part] > table > tbody").map((body) => {
    const [head, ...rows] = body.rows;
    return {
      body, head, folded: false, button: null, words: null,
      resource: body.dataset.n, kind: body.dataset.kind, file: body.dataset.file, states: (body.dataset.state ?? "").split(" "),
      name: body.dataset.n === undefined ? "" : head.cells[0].querySelector("code").textContent,
      rows: rows.map((row) => ({ row, cause: row.dataset.cause, states: row.dataset.state.split(" "), words: null })),
    };
  });
  // The words of a row without those that are on the page twice, or only for the eye.
  const words = (entry, row) => entry.words ??= row.textContent.toLowerCase();

  const form = one("form.controls");
  const names = ["cause", "kind", "file", "state", "text"].filter((name) => form?.elements[name]);
  // A control is left out where there is nothing to choose.
  const wanted = () => Object.fromEntries(names.map((name) => [name, form.elements[name].value]));

  const show = () => {
    if (!form) return;
    const want = wanted();
    const text = want.text.trim().toLowerCase();
    const seen = new Set(), known = new Set();
    let fields = 0, allFields = 0, problems = 0, allProblems = 0;
    for (const group of groups) {
      const named = !text || words(group, group.head).includes(text);
      const filed = !want.file || group.file === want.file;
      if (group.resource === undefined) {  // a problem: it has no cause, no kind and no state to be filtered by
        group.body.hidden = !(named && filed);
        allProblems += 1;
        problems += group.body.hidden ? 0 : 1;
        continue;
      }
      const fits = filed && (!want.kind || group.kind === want.kind);
      const stated = !want.state || group.states.includes(want.state);
      let some = fits && named && stated && !want.cause;
      for (const field of group.rows) {
        const shown = fits && (!want.cause || field.cause === want.cause) && (stated || field.states.includes(want.state))
          && (named || words(field, field.row).includes(text));
        field.row.hidden = !shown || group.folded;
        if (shown) { some = true; fields += 1; }
      }
      allFields += group.rows.length;
      known.add(group.resource);
      if (some) seen.add(group.resource);
      group.body.hidden = !some;
    }
    const said = [];
    if (known.size) said.push(`${number.format(fields)} of ${amount(allFields, "field")} on ${number.format(seen.size)} of ${amount(known.size, "resource")}`);
    if (allProblems) said.push(`${number.format(problems)} of ${amount(allProblems, "problem")}`);
    one("#shown").textContent = `Showing ${said.join(", ")}`;
  };

  // --- collapsing

  const fold = (group, folded) => {
    group.folded = folded;
    if (group.button) group.button.setAttribute("aria-expanded", String(!folded));
  };
  const remember = () => keep("sessionStorage", place, JSON.stringify(groups.filter((group) => group.folded).map((group) => group.name)));
  for (const group of groups) {
    if (!group.rows.length) continue;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "fold";
    button.setAttribute("aria-label", `Fields of ${group.name}`);
    button.setAttribute("aria-expanded", "true");
    button.addEventListener("click", () => { fold(group, !group.folded); show(); remember(); });
    group.head.cells[0].prepend(button);
    group.button = button;
  }
  const foldAll = (folded) => () => { for (const group of groups) if (group.button) fold(group, folded); show(); remember(); };

  // --- sorting: the rows of each resource, then the resources by their first row

  const collator = new Intl.Collator("en", { numeric: true });
  const text = (row, column) => {
    const cell = row.cells[column];
    return cell ? (cell.querySelector("code, .cause") ?? cell).textContent : "";
  };
  // What a group is sorted by: a problem by its cell, a resource by its name, else by its first row; one without rows
  // has nothing but its name and its place.
  const first = (group, rows, column) => {
    if (!group.name) return text(group.head, column);
    if (column === 0) return group.name;
    if (rows.length) return rows[0][0];
    return column === 4 ? text(group.head, 2) : "";
  };
  const sorters = new Map();
  for (const table of all("[data-part] > table")) {
    const mine = groups.filter((group) => group.body.parentElement === table);
    const headers = all("th[data-sort]", table);
    const order = (column, direction) => {
      const sign = direction === "descending" ? -1 : 1;
      const compare = (a, b) => sign * collator.compare(a[0], b[0]) || a[1] - b[1];
      const keyed = mine.map((group, index) => {
        if (!direction) return [index, index, group, group.rows];
        const rows = group.rows.map((field, at) => [text(field.row, column), at, field]).sort(compare);
        return [first(group, rows, column), index, group, rows.map((each) => each[2])];
      });
      if (direction) keyed.sort(compare);
      const bodies = document.createDocumentFragment();
      for (const [, , group, rows] of keyed) {
        if (rows.some((field, at) => group.body.rows[at + 1] !== field.row)) group.body.append(...rows.map((field) => field.row));
        bodies.append(group.body);
      }
      table.append(bodies);
      headers.forEach((header, at) => {
        if (direction && at === column) header.setAttribute("aria-sort", direction); else header.removeAttribute("aria-sort");
      });
    };
    headers.forEach((header, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = header.textContent;
      button.addEventListener("click", () => {
        const direction = { ascending: "descending", descending: "" }[header.getAttribute("aria-sort")] ?? "ascending";
        order(column, direction);
        note();
      });
      header.replaceChildren(button);
    });
    sorters.set(table, order);
  }

  // --- what was chosen is kept behind the # of the address, so that it can be passed on and outlives a reload

  const chosen = () => {
    const said = new URLSearchParams();
    for (const [name, value] of Object.entries(wanted())) if (value) said.set(name, value);
    for (const header of all("th[aria-sort]")) {
      const part = header.closest("section").querySelector("h2").id;
      said.set(`sort.${part}`, `${header.cellIndex}.${header.getAttribute("aria-sort")}`);
    }
    return said.toString();
  };
  const note = () => { if (form) history.replaceState(null, "", `${location.pathname}${location.search}${chosen() ? `#${chosen()}` : ""}`); };
  const restore = () => {
    if (!form) return;
    const said = new URLSearchParams(location.hash.slice(1));
    for (const name of names) {
      const control = form.elements[name], value = said.get(name) ?? "";
      if (control.tagName !== "SELECT" || [...control.options].some((option) => option.value === value)) control.value = value;
    }
    for (const [table, order] of sorters) {
      const [column, direction] = (said.get(`sort.${one("h2", table.closest("section")).id}`) ?? "").split(".");
      const sorted = one("th[aria-sort]", table);
      if (["ascending", "descending"].includes(direction)) order(Number(column), direction);
      else if (sorted) order(0, "");
    }
    show();
  };

  if (form) {
    let waiting = 0;
    const changed = () => { cancelAnimationFrame(waiting); waiting = requestAnimationFrame(() => { show(); note(); }); };
    form.addEventListener("input", changed);
    form.addEventListener("reset", () => setTimeout(changed));
    form.addEventListener("submit", (event) => event.preventDefault());
    one("#collapse")?.addEventListener("click", foldAll(true));
    one("#expand")?.addEventListener("click", foldAll(false));
    window.addEventListener("hashchange", restore);
    try {
      const folded = new Set(JSON.parse(kept("sessionStorage", place) ?? "[]"));
      for (const group of groups) if (group.button && folded.has(group.name)) fold(group, true);
    } catch { /* somebody else's words */ }
    restore();
  }

  // --- the page of a watch looks again by itself, unless somebody is at it

  const seconds = Number(document.body.dataset.refresh);
  if (seconds) {
    const calm = 5000, box = one("#refresh");
    let touched = -calm;
    for (const name of ["keydown", "pointerdown", "input"]) addEventListener(name, () => { touched = performance.now(); });
    const used = () => document.activeElement?.matches("input[type=search], select") || !getSelection().isCollapsed
      || document.hidden || all("details[open]").length > 0 || performance.now() - touched < calm;
    box.checked = kept("sessionStorage", `${place} still`) === null;
    box.addEventListener("change", () => {
      try { if (box.checked) sessionStorage.removeItem(`${place} still`); else sessionStorage.setItem(`${place} still`, ""); } catch { /* then not */ }
    });
    const at = kept("sessionStorage", `${place} focus`);
    if (at) document.getElementById(at)?.focus({ preventScroll: true });
    const look = () => {
      if (!box.checked || used()) { setTimeout(look, 1000); return; }
      keep("sessionStorage", `${place} focus`, document.activeElement?.id ?? "");
      location.reload();
    };
    setTimeout(look, seconds * 1000);
  }
})();
