"""completion: a script for the user's shell, and the hidden command that it asks at every key."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from runner.candidates import candidates, split

ASK = "__complete"

# bash cuts words at '=', ':', '@' and '(' too, and replaces only the part after the last of them.
BASH = """\
# amlrun for bash: eval "$(amlrun completion bash)"
_amlrun() {
    local line="${COMP_LINE:0:COMP_POINT}" text
    local word="${line##*[[:space:]]}"
    local cut="${word%"${word##*[=:@(]}"}"
    COMPREPLY=()
    while IFS=$'\\t' read -r text _; do
        COMPREPLY+=("${text#"$cut"}")
    done < <("$1" __complete "$line" 2>/dev/null)
    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[=./] ]]; then
        compopt -o nospace 2>/dev/null
    fi
}
complete -F _amlrun amlrun
"""

ZSH = """\
#compdef amlrun
# amlrun for zsh: eval "$(amlrun completion zsh)" after compinit, or as a file _amlrun in a folder of fpath
_amlrun() {
    local row text
    local -a parts whole part_rows whole_rows
    for row in "${(@f)$(${words[1]} __complete "${words[1,CURRENT-1]} $PREFIX" 2>/dev/null)}"; do
        text="${row%%$'\\t'*}"
        if [[ -z $text ]]; then
            continue
        elif [[ $text == *[=./] ]]; then
            parts+=("$text"); part_rows+=("${row/$'\\t'/  }")
        else
            whole+=("$text"); whole_rows+=("${row/$'\\t'/  }")
        fi
    done
    (( ${#parts} )) && compadd -l -S '' -d part_rows -a parts
    (( ${#whole} )) && compadd -l -d whole_rows -a whole
}
if [[ ${funcstack[1]} == _amlrun ]]; then _amlrun "$@"; else compdef _amlrun amlrun; fi
"""

FISH = """\
# amlrun for fish: amlrun completion fish > ~/.config/fish/completions/amlrun.fish
complete -c amlrun -f -a '(amlrun __complete (commandline -cp))'
"""

SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


def completion(args: argparse.Namespace) -> int:
    print(SCRIPTS[args.shell], end="")
    return 0


def answer(line: str, parser: argparse.ArgumentParser, verbs: Mapping[str, argparse.ArgumentParser]) -> int:
    """One candidate a line: the word, a tab, what it means."""
    for text, meaning in candidates(split(line), parser, verbs):
        print(f"{text}\t{' '.join(meaning.split())[:100]}")
    return 0
