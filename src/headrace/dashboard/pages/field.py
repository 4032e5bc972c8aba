"""Fields of a form: for a file, and for text, which may be the text of a file too.

NiceGUI's page drops what it would send over its WebSocket in more than a million characters, and
says so only for some seconds. A file comes by HTTP, which has no such limit.
"""

from __future__ import annotations

from dataclasses import dataclass

from nicegui import events, ui

from headrace.errors import InvalidInput

# A server takes 64 MiB as it comes, and base64 makes a third more of a file.
_LARGEST_BYTES = 47 * 2**20
# The length of a field is told at once, unless the browser does something else.
_TOLD_S = 10.0


@dataclass(slots=True)
class Text:
    """What is written in a field, or the text of the file that was given instead."""

    area: ui.textarea
    of_file: str | None = None

    async def read(self) -> str:
        """What is to be sent.

        Raises:
            InvalidInput: the browser shows another text, or does not answer.
        """
        if self.of_file is not None:
            return self.of_file
        length = f"getElement({self.area.id}).inputValue.length"
        try:
            shown = await self.area.client.run_javascript(length, timeout=_TOLD_S)
        except TimeoutError as error:
            raise InvalidInput("the page does not answer: load it again") from error
        came = self.area.value or ""
        if shown not in {None, _length(came)}:  # None: the browser went away
            raise InvalidInput(
                f"the field has {shown:,} characters, more than can come from a field: give a file"
            )
        return came


def _length(text: str) -> int:
    """How long JavaScript takes it to be."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def text_field(title: str, value: str, accept: str, look: str = "") -> Text:
    """Draw a field, and a place for a file that is sent instead of what is written."""
    area = ui.textarea(title, value=value).classes("w-full")
    area.props(f"outlined autogrow {look}")
    found = Text(area)
    with ui.row().classes("w-full items-center gap-4"):
        place = file_field("or a file", accept, "one file of text")
        told = ui.row().classes("items-center gap-1")

    def write() -> None:
        found.of_file = None
        told.clear()
        area.set_visibility(True)

    async def take(event: events.UploadEventArguments) -> None:
        content = await event.file.read()
        place.reset()
        try:
            found.of_file = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            ui.notify(f"{event.file.name} is no text in UTF-8", type="negative")
            return
        area.set_visibility(False)
        with told.clear():
            ui.label(f"{event.file.name} · {len(content):,} bytes").classes("dim break-all")
            ui.button("write instead", on_click=write).props("flat dense no-caps")

    place.on_upload(take)
    return found


def file_field(label: str, accept: str, takes: str) -> ui.upload:
    """Draw a place for a file, which comes as soon as it is chosen."""
    found = ui.upload(
        label=label,
        auto_upload=True,
        max_files=1,
        max_file_size=_LARGEST_BYTES,
        on_rejected=lambda: ui.notify(f"{takes}, of at most 47 MiB", type="negative"),
    )
    found.props("flat bordered").classes("w-72")
    found.props["accept"] = accept
    return found
