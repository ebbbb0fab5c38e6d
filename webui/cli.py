"""The command line: webui."""

from __future__ import annotations

import errno
import logging
import os
import re
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Annotated, Any

import typer

from rnnkit.about import CompletionFlag, VersionFlag
from rnnkit.command_line import run_app
from rnnkit.errors import ALL_DONE, UserError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
LOCAL = ("127.0.0.1", "localhost", "::1")


@app.command()
def serve(
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 opens the page to the whole network.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 7860,
    share: Annotated[
        bool,
        typer.Option(
            "--share", help="Also give the page a public address, through Gradio's servers."
        ),
    ] = False,
    auth: Annotated[str | None, typer.Option(help="USER:PASSWORD for visitors to enter.")] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A further name that the page answers to, such as that of a proxy; may be given"
            " again.",
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    captioner: Annotated[
        Path | None, typer.Option(help="Checkpoint or run folder; by default the bundled model.")
    ] = None,
    charlm: Annotated[
        Path | None, typer.Option(help="Checkpoint or run folder; by default the bundled model.")
    ] = None,
    sequences: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FOLDER",
            help="Checkpoint or run folder of a classifier, tagger or translator, in place of the"
            " bundled model of its task; may be given again.",
        ),
    ] = None,
    mcp: Annotated[
        bool,
        typer.Option("--mcp", help="Also offer the endpoints as MCP tools; needs the mcp extra."),
    ] = False,
    open_browser: Annotated[
        bool, typer.Option("--open", help="Open the page in a browser.")
    ] = False,
    version: VersionFlag = False,
    completion: CompletionFlag = None,
) -> None:
    """Serve the page: caption photos, write text, read sentences, look inside the networks, score
    captions.
    """
    user, host, names = _credentials(auth), host.strip("[]"), _names(allow_host or [])
    _check_flags(device, captioner, charlm, sequences or [], mcp)
    _check_address(host, port)
    if (share or host not in LOCAL) and user is None:
        visitors = "anyone with the public address" if share else f"anyone who can reach {host}"
        _report(
            f"warning: {visitors} can use this page and this machine's processor; add --auth"
            " USER:PASSWORD to ask for a password"
        )
    if mcp and user is not None:
        _report("warning: Gradio's MCP endpoint may not ask for the password; do not expose it")
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    # Imported here because these take seconds, which a wrong flag should not.
    from webui.uploads import prepare_gradio, remove_temporary_folder

    prepare_gradio()
    from webui.app import close, launch
    from webui.workers import Models

    models = Models(captioner, charlm, device, sequences or [])
    try:
        page = launch(
            models,
            host=f"[{host}]" if ":" in host else host,
            port=port,
            share=share,
            auth=user,
            allow_hosts=names,
            mcp=mcp,
            open_browser=open_browser,
        )
    except OSError as error:
        _check_address(host, port)  # in case it was taken meanwhile
        raise UserError(
            f"cannot listen on {host}, port {port} ({error.strerror or type(error).__name__})"
        ) from None
    public = f" and {page.share_url}" if share and page.share_url else ""
    _report(f"the page is at {page.local_url.rstrip('/')}{public}; press Ctrl-C to stop it")
    while not ended.wait(3600):
        pass
    close(page)
    remove_temporary_folder()
    # The interpreter's own exit aborts if a thread is still loading a model.
    os._exit(ALL_DONE)


def _credentials(auth: str | None) -> tuple[str, str] | None:
    if auth is None:
        return None
    user, colon, password = auth.partition(":")
    if not (user and colon and password):
        raise UserError("--auth must be USER:PASSWORD")
    return user, password


def _names(hosts: list[str]) -> list[str]:
    names = [host.strip("[]") for host in hosts]
    for host, name in zip(hosts, names, strict=True):
        if not re.fullmatch(r"[\w.-]+|[\da-f]*:[\da-f]*:[\da-f:.]*", name.lower()):
            raise UserError(
                f"--allow-host takes a name alone, such as photos.example.org, not '{host}'"
            )
    return names


def _check_flags(
    device: str, captioner: Path | None, charlm: Path | None, sequences: list[Path], mcp: bool
) -> None:
    """Find what is wrong with the flags before anything is loaded."""
    import importlib.util

    from rnnkit.checkpoint import read_config
    from rnnkit.devices import resolve_device
    from webui.readers import Readers

    resolve_device(device)
    for kind, folder in (("captioner", captioner), ("charlm", charlm)):
        if folder is not None:
            read_config(folder, kind=kind, version=1)
    Readers(sequences)
    if mcp and importlib.util.find_spec("mcp") is None:
        raise UserError("--mcp needs the mcp extra", hint="pip install 'show-and-spell[mcp]'")


def _check_address(host: str, port: int) -> None:
    """Try to listen there, because Gradio blames every failure on a lack of ports.

    Raises: UserError that says whether another host or another port is needed.
    """
    other_host = (
        "choose another with --host (127.0.0.1 is this machine alone, 0.0.0.0 shows the page to the"
        " whole network)"
    )
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise UserError(f"there is no host '{host}'", hint=other_host) from None
    refusals = [_refusal(family, address) for family, *_, address in addresses]
    if errno.EADDRNOTAVAIL in refusals and all(refusals):
        raise UserError(f"{host} is not an address of this machine", hint=other_host)
    # Gradio needs the port on 127.0.0.1 in any case.
    if errno.EADDRINUSE in [*refusals, _refusal(socket.AF_INET, ("127.0.0.1", port))]:
        raise UserError(
            f"port {port} is taken by another program", hint="choose another with --port"
        )
    if errno.EACCES in refusals:
        raise UserError(
            f"port {port} is reserved for the administrator",
            hint="choose one above 1023 with --port",
        )


def _refusal(family: int, address: Any) -> int | None:
    """Why nothing can listen at an address, as an errno; None if something can."""
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # As the server does, so that a port that was just released counts as free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        return error.errno
    return None


def _report(message: str) -> None:
    print(f"webui: {message}", file=sys.stderr, flush=True)


def main() -> None:
    """The console command."""
    logging.basicConfig(level=logging.WARNING, format="webui: %(message)s")
    run_app("webui", app)


if __name__ == "__main__":
    main()
