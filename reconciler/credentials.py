r"""What keys look like: the formats in which vendors write theirs, one row each.

Only formats that nothing else is written in: a prefix of the vendor's own, the alphabet, and how long it is at least.
Nothing is guessed by entropy, because people do pack data into values: base64, JWTs, UUIDs and hashes are none of
these. Where a format could begin in the middle of base64 text, whatever may stand in such a text ends the match.

The shapes are those that the vendors document, and that public scanners (the rules of gitleaks, the partner
patterns of GitHub's secret scanning) look for; each row says what its vendor calls it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class Format:
    """One format: how it is called in a sentence, its pattern, and the texts of which it contains at least one.

    Looking for a fixed text costs next to nothing, so the pattern is tried only where one is found.
    """

    name: str
    pattern: re.Pattern[str]
    markers: tuple[str, ...]


def _format(name: str, pattern: str, *markers: str, before: str = r"[A-Za-z0-9_-]", after: str = "") -> Format:
    """Return a row: `before` must not stand ahead of it (the end of an escape in JSON text may), nor `after` behind."""
    # What the pattern begins with comes first where it can: a fixed text is found many times faster than a boundary.
    first = re.escape(markers[0]) if len(markers) == 1 and pattern.startswith(markers[0]) else ""
    start = rf"{first}(?:(?<!{before}{first})|(?<=\\[nrt]{first}))" if before else first
    end = f"(?!{after})" if after else ""
    return Format(
        name, re.compile(f"{start}(?:{pattern.removeprefix(markers[0]) if first else pattern}){end}"), markers
    )


_BASE64 = r"[A-Za-z0-9+/=_-]"

FORMATS: tuple[Format, ...] = (
    # "-----BEGIN … PRIVATE KEY-----" of PEM (RFC 7468), OpenSSH and PGP; the header of PuTTY's .ppk files.
    _format("a private key", r"-----BEGIN (?:[A-Z0-9]+ ){0,4}PRIVATE KEY(?: BLOCK)?-----", "PRIVATE KEY", before=""),
    _format("a private key of PuTTY", r"PuTTY-User-Key-File-\d:", "PuTTY-User-Key-File-", before=""),
    # "API keys": sk-ant-api03-…, sk-ant-admin01-…, sk-ant-oat01-….
    _format("an Anthropic key", r"sk-ant-[a-z0-9]{3,12}-[A-Za-z0-9_-]{20,}", "sk-ant-"),
    # Project, service account and admin keys; legacy ones have no part for what they belong to. The form "sk-", letters
    # and digits is that of other vendors, too (DeepSeek, OpenRouter's sk-or-v1-…).
    _format(
        "an OpenAI key",
        r"sk-(?:(?:proj|svcacct|service|admin|None)-[A-Za-z0-9_-]{20,}|(?:or-v1-)?[A-Za-z0-9]{32,})",
        "sk-",
    ),
    # Access key ids of users (AKIA) and of temporary credentials (ASIA): 16 characters of base32.
    _format("an AWS access key id", r"A[KS]IA[A-Z2-7]{16}", "AKIA", "ASIA", after=_BASE64),
    # "Token formats": personal (classic, fine-grained), OAuth, user-to-server, server-to-server, refresh.
    _format(
        "a GitHub token", r"gh[pousr]_[A-Za-z0-9]{36,}", "ghp_", "gho_", "ghu_", "ghs_", "ghr_"
    ),
    _format("a GitHub token", r"github_pat_[A-Za-z0-9_]{50,}", "github_pat_"),
    # "Token prefixes": personal access, deploy, runner, trigger, CI job, agent, feed, SCIM and incoming mail tokens.
    _format(
        "a GitLab token", r"gl(?:pat|dt|rt|ptt|cbt|agent|ft|soat|imt|oas)-[A-Za-z0-9_-]{20,}", "glpat-", "gldt-",
        "glrt-", "glptt-", "glcbt-", "glagent-", "glft-", "glsoat-", "glimt-", "gloas-",
    ),
    # "Token types": bot, user, app-level, configuration, refresh; and incoming webhooks, which are secret as a whole.
    _format("a Slack token", r"xox[a-z]-(?:\d-)?[A-Za-z0-9-]{20,}", "xox"),
    _format("a Slack token", r"xapp-\d-[A-Z0-9]+-\d+-[a-z0-9]{20,}", "xapp-"),
    _format(
        "a Slack webhook", r"hooks\.slack\.com/services/T[A-Z0-9]{6,}/B[A-Z0-9]{6,}/[A-Za-z0-9]{20,}",
        "hooks.slack.com/services/", before="",
    ),
    # "API keys" of Google Cloud, Maps, Gemini.
    _format("a Google key", r"AIza[A-Za-z0-9_-]{35}", "AIza", after=_BASE64),
    # "Secret and restricted keys", live and of the sandbox.
    _format("a Stripe key", r"[sr]k_(?:live|test)_[A-Za-z0-9]{16,}", "k_live_", "k_test_"),
    # "Access tokens" of the registry.
    _format("an npm token", r"npm_[A-Za-z0-9]{36}", "npm_"),
    # A macaroon for pypi.org (or its test instance) always begins so.
    _format("a PyPI token", r"pypi-AgE[A-Za-z0-9_-]{50,}", "pypi-AgE"),
    # "User access tokens" and those of organisations.
    _format("a Hugging Face token", r"(?:hf|api_org)_[A-Za-z]{34}", "hf_", "api_org_", after=r"[A-Za-z0-9_-]"),
    # The id of a key, and its secret.
    _format("a SendGrid key", r"SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}", "SG."),
    # Personal access tokens, OAuth tokens, refresh tokens.
    _format("a DigitalOcean token", r"do[opr]_v1_[a-f0-9]{64}", "_v1_"),
    # "Personal access tokens" of a workspace.
    _format("a Databricks token", r"dapi[a-f0-9]{32}(?:-\d)?", "dapi", after=r"[A-Za-z0-9_]"),
    # Connection strings of storage accounts (64 bytes), and of Service Bus, Event Hubs and IoT Hub (32 bytes).
    _format("an Azure storage key", r"AccountKey=[A-Za-z0-9+/]{86}==", "AccountKey="),
    _format("an Azure access key", r"SharedAccessKey=[A-Za-z0-9+/]{43}=", "SharedAccessKey="),
    # "API keys": their ids, which nothing but a key has.
    _format("a Twilio key", r"SK[0-9a-f]{32}", "SK", after=_BASE64),
    # "Authorizing your bot": the number of a bot and 35 characters, of which the first two are always AA.
    _format("a Telegram bot token", r"\d{8,10}:AA[A-Za-z0-9_-]{33}", ":AA", after=r"[A-Za-z0-9_-]"),
)  # fmt: skip


def looks_like(text: str) -> str | None:
    """Return what kind of key a text contains (`an OpenAI key`); `None` where none can be told."""
    return next((form.name for form in FORMATS if _holds(form, text)), None)


def any_looks_so(texts: Iterable[str]) -> bool:
    """Tell whether any of many texts contains a key: one look at all of them, so that it costs next to nothing."""
    return looks_like("\n".join(texts)) is not None


def _holds(form: Format, text: str) -> bool:
    return any(marker in text for marker in form.markers) and form.pattern.search(text) is not None
