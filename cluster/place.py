"""A folder on another machine, or on this one: run commands in it, copy files to and from it.

In: commands as words, scripts of the shell, names relative to the folder. Out: what they printed and their exit
status. InputError where there is no connection, no project, no room, or rsync stops. One call is one round trip over
ssh, so that `gather` runs several commands in one.
"""

from __future__ import annotations

import copy
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from script import InputError

# ssh would wait forever for a host that vanished without a word.
PATIENCE = ("-o", "ConnectTimeout=20", "-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=3")
# Without -p: the far folder's own group and rights. With -L: what links lead to; elsewhere they would lead nowhere.
COPY = ("-rLtz", "--partial-dir=.rsync-partial")
MARK = "\x1e"  # ASCII's record separator begins the line behind each answer
BEGIN = "\x1e\x1e"  # before it stands what start-up files of the far shell have printed
NOT_THERE = "slurm/environment.sh: No such file or directory"


class Answer(NamedTuple):
    """What one command of several printed, and its exit status."""

    text: str
    status: int


class Place:
    """The project's folder on a machine reached by ssh, or this folder where host is empty."""

    def __init__(self, host: str, folder: str, ssh: str = "ssh", dry_run: bool = False):
        if host and not folder.startswith("/"):
            raise InputError(f"{host}:{folder} is not a whole path; DELTA_DIR, and CAMPUS after host:, begin with /.")
        self.host, self.folder, self.dry_run = host, folder if host else ".", dry_run
        self.is_campus = False  # the place that CAMPUS names, not DELTA
        self.login = [*shlex.split(ssh), *PATIENCE, *self.shared_connection(ssh)]
        self.ssh = [*self.login, "-o", "BatchMode=yes"]  # where a login would ask a person, fail

    def at(self, folder: str) -> Place:
        """Return another folder on the same machine."""
        other = copy.copy(self)
        other.folder = folder
        return other

    def path(self, name: str) -> str:
        """Return a name in the folder as rsync writes it."""
        return f"{self.host}:{self.folder}/{name}" if self.host else name

    @property
    def where(self) -> str:
        """The folder as the user knows it."""
        return f"{self.host}:{self.folder}" if self.host else str(Path.cwd())

    def target(self, name: str) -> str:
        """Return a call of make about this place, for a user to type."""
        return f"make {name}{' AT=campus' if self.is_campus else ''}"

    # ---- connecting

    def shared_connection(self, ssh: str) -> list[str]:
        """Return the options that let all commands use one connection, unless the user's ssh config has its own."""
        if not self.host:
            return []
        resolved = subprocess.run([*shlex.split(ssh), "-G", self.host], capture_output=True, text=True).stdout
        if re.search(r"^controlpath (?!none)", resolved, re.MULTILINE):
            return []
        return ["-o", "ControlMaster=auto", "-o", "ControlPath=~/.ssh/cm-%C", "-o", "ControlPersist=8h"]

    def connect(self) -> None:
        """Open the connection that all commands share: one password and one tap of Duo for hours."""
        command = [*self.login, "-o", "ControlMaster=auto", "-o", "ControlPersist=8h", self.host, "true"]
        if self.dry_run:
            print(shown(command))
        elif subprocess.run(command).returncode:
            raise InputError(f"ssh {self.host} failed; check the host's name in config.mk and your ssh config.")

    def no_connection(self, said: str) -> InputError:
        return InputError(f"no connection to {self.host} ({last_line(said) or 'ssh gave up'}); run make connect first.")

    # ---- running

    def command(self, words: list[str], mark: str = "") -> list[str]:
        """Return the command that runs these words in the folder, in a login shell: modules and Slurm are there.

        What the profile prints goes nowhere. What other start-up files print cannot be held back; where there is a
        mark, it stands before the mark, on both outputs.
        """
        if not self.host:
            return words
        begin = f"printf {shlex.quote(mark)}; printf {shlex.quote(mark)} >&2; " if mark else ""
        there = f"exec >&3 3>&-; {begin}cd {shlex.quote(self.folder)} && {shlex.join(words)}"
        return [*self.ssh, self.host, for_any_shell(f"exec bash -lc {shlex.quote(there)} 3>&1 > /dev/null")]

    def run(self, words: list[str], text: str = "", check: bool = True) -> Answer:
        """Run words in the folder, with text on standard input; return what they printed and their exit status.

        Raises:
            InputError: no connection; with `check` also a status other than 0.
        """
        if self.dry_run:
            print(shown(self.command(words)))
            return Answer("", 0)
        command = self.command(words, BEGIN)
        # Never this terminal's input: ssh would swallow what is typed or piped for the next command.
        done = subprocess.run(command, input=text, capture_output=True, encoding="utf-8", errors="replace")
        if self.host and done.returncode == 255:
            raise self.no_connection(done.stderr)
        if check and done.returncode:
            raise self.failure(words, done.stderr.split(BEGIN, 1)[-1])
        return Answer(done.stdout.split(BEGIN, 1)[-1], done.returncode)

    def show(self, words: list[str]) -> None:
        """Run words in the folder and let them print here, until they end."""
        command = self.command(words)
        if self.dry_run:
            print(shown(command))
            return
        sys.stdout.flush()
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, encoding="utf-8")
        if self.host and done.returncode == 255:
            raise self.no_connection(done.stderr)
        if done.returncode:
            raise self.failure(words, done.stderr)
        sys.stderr.write("".join(line for line in done.stderr.splitlines(True) if "Shared connection to" not in line))

    def failure(self, words: list[str], said: str) -> InputError:
        """Return the sentence that tells why words failed, from what they said on standard error."""
        said = "".join(line for line in said.splitlines(True) if "Shared connection to" not in line)
        if re.search(r"(cd:|slurm/\w+\.sh:).*No such file or directory", said):
            sends = "precocity-cluster" if self.is_campus else "sync-delta"
            remedy = f"run make {sends} first" if self.host else "cd to the project's folder"
            return InputError(f"{self.where}: the project is not there yet; {remedy}.")
        fault = no_room(said) or last_line(said) or f"{shlex.join(words[:4])} failed"
        return InputError(f"{self.host or 'here'}: {fault}")

    def gather(self, parts: dict[str, str], before: str = "") -> dict[str, Answer]:
        """Run scripts of the shell in the project's folder, all in one round trip; return the answer to each.

        What a script says on standard error belongs to its answer. A variable that `before` or an earlier script
        sets, later ones see. In a dry run there are no answers.
        """
        lines = [
            r"printf '\036start 0\n'",  # behind what BASH_ENV prints
            f"[ -e slurm/environment.sh ] || {{ echo '{NOT_THERE}' >&2; exit 2; }}",
            "trap 'exit 0' EXIT",  # whatever ends the shell leaves the later scripts without an answer
            before,
        ]
        lines += [f"{{ {script}\n}} 2>&1; printf '\\036%s %s\\n' {name} $?" for name, script in parts.items()]
        found = answers(self.run(["bash", "-c", "\n".join(lines)]).text)
        if not self.dry_run and (lacking := [name for name in parts if name not in found]):
            raise InputError(f"{self.where}: no answer to {lacking[0]}; does slurm/environment.sh end the shell?")
        return {name: found[name] for name in found if name in parts}

    def has(self, name: str) -> bool:
        """Tell whether the folder holds a file of this name; in a dry run yes."""
        return self.run(["test", "-e", name], check=False).status == 0

    # ---- copying

    def rsync(self, flags: list[str], source: str, target: str, names: list[str] | None = None) -> list[str]:
        """Copy whole files beside their names and rename them; return rsync's lines. InputError where it stops."""
        if names == []:
            return []
        command = ["rsync", *COPY, *flags, "-e", shlex.join(self.ssh)]
        if re.search(r"[^\w@%+=:,./~-]", self.folder):
            command.append("-s")  # older versions of rsync would have the far shell split the path
        if names is not None:
            command += ["--from0", "--files-from=-"]
        command += [source, target]
        if self.dry_run:
            print(shown(command) + (f"  # {len(names)} names on standard input" if names is not None else ""))
            return []
        # Without ./ a name that begins with # or ; is a comment to rsync.
        names_in = "".join(f"./{name}\0" for name in names) if names is not None else None
        done = subprocess.run(command, input=names_in, capture_output=True, encoding="utf-8", errors="replace")
        if done.returncode:
            raise self.rsync_failure(done.returncode, done.stderr, source)
        return done.stdout.splitlines()

    def rsync_failure(self, status: int, stderr: str, source: str) -> InputError:
        """Return the sentence that tells why rsync stopped."""
        said = [line for line in stderr.splitlines() if line.strip()]
        if full := no_room(stderr):
            return InputError(f"copying {source}: {full}")
        if re.search("rsync.*(unknown|unrecognized|invalid) option", stderr):
            return InputError(f"this rsync is too old ({said[0]}); install rsync 3 (on a Mac: brew install rsync).")
        if status == 255 or "Permission denied (" in stderr:
            return self.no_connection(said[0] if said else "")
        if noise := last_line(self.noise()):
            what = f"a start-up file of the shell on {self.host} prints “{noise[:60]}”, which disturbs rsync"
            return InputError(f"copying {source}: {what}; have it print in interactive shells only.")
        first = said[0] if said else f"rsync ended with {status}"
        return InputError(f"copying {source} stopped ({first}); run the same command again, what came through is kept.")

    def noise(self) -> str:
        """Return what start-up files of the far shell print where nobody logs in."""
        words = [*self.ssh, self.host, "true"]
        return subprocess.run(words, input="", capture_output=True, encoding="utf-8", errors="replace").stdout

    def write(self, name: str, data: dict | str) -> None:
        """Write a small file, JSON or text, at the far end, whole or not at all."""
        text = data if isinstance(data, str) else json.dumps(data, indent=1, ensure_ascii=False)
        # To cat, a connection that was cut off is the end of the file.
        script = 'cat > "$0.partial" && [ "$(wc -c < "$0.partial")" -eq "$1" ] && mv "$0.partial" "$0"'
        self.run(["bash", "-c", script, name, str(len(text.encode()))], text=text)

    def digest(self, name: str) -> str:
        """Return the SHA-256 of a file in hexadecimal, that of nothing or an empty text where there is none."""
        return self.run(["bash", "-c", 'sha256sum < "$0" 2> /dev/null || true', name]).text[:64]


def for_any_shell(script: str) -> str:
    """Return a command that runs a script of bash, and that every login shell reads alike: sh, csh, fish."""
    # Even in single quotes, csh knows ! and no line feed, fish knows backslashes.
    letters = re.sub(rb"[^\w @+=:,./~|&<>;()*?#-]", lambda byte: b"\\%03o" % byte[0][0], script.encode())
    return f"""bash -c 'eval "$(printf "{letters.decode()}")"'"""


def answers(said: str) -> dict[str, Answer]:
    """Divide what the commands of one round trip printed, each followed by a line with its name and exit status."""
    parts = re.split(rf"{MARK}(\w+) (\d+)\n", said)
    return {name: Answer(text, int(status)) for text, name, status in zip(parts[::3], parts[1::3], parts[2::3])}


def shown(command: list[str]) -> str:
    """Return a command to read and to paste; words with spaces in double quotes where that changes nothing."""
    return " ".join(word if word == shlex.quote(word) else quoted(word) for word in command)


def quoted(word: str) -> str:
    return shlex.quote(word) if re.search(r'["$`\\!]', word) else f'"{word}"'


def last_line(text: str) -> str:
    """Return the last line that holds anything."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


def no_room(said: str) -> str:
    """Return the line that tells of a full disk, and what to do; nothing where none does."""
    full = [line.strip() for line in said.splitlines() if "No space left" in line or "quota" in line.lower()]
    return f"{full[0]}; make room (old models, checkpoints), then run the same command again." if full else ""
