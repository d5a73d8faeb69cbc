"""`reconciler completion`: the completion script of a shell."""

from __future__ import annotations

import click


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script by which a shell completes commands, options, targets, ids, revisions and files.

    For bash, put `eval "$(reconciler completion bash)"` into ~/.bashrc. For zsh, put the script into a file with the
    name _reconciler in a folder of $fpath, or `eval "$(reconciler completion zsh)"` into ~/.zshrc, behind compinit. For
    fish, put the script into ~/.config/fish/completions/reconciler.fish.

    Ids come from the manifests, targets from the settings, revisions and runs from git: nobody is asked over the
    network, nothing is written but the cache of parsed manifests, and of more than 1,000 names an even choice is
    offered. Where the settings or a manifest are invalid less is offered, and nothing is said.

    \b
    Examples:
      reconciler completion bash > reconciler.bash
      reconciler completion zsh > _reconciler
      reconciler completion fish > reconciler.fish
    """
    from reconciler.cli.completing import SCRIPTS
    from reconciler.cli.options import Options
    from reconciler.cli.output import say

    say(SCRIPTS[shell], Options())
