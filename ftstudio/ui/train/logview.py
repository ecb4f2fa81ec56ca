"""The log: all that libraries print while a run trains, followed as it grows, searched, of any size."""

from __future__ import annotations

from pathlib import Path

from textual import events
from textual.binding import Binding
from textual.message import Message

from ftstudio.core.text import size as bytes_in_words
from ftstudio.ui.text.lines import Line, Lines, fit
from ftstudio.ui.train.logfile import LogFile, LogLine


class LogView(Lines, can_focus=True):
    """A window on the log. Holds the lines in view and where they stand in the file, nothing else."""

    DEFAULT_CSS = "LogView { height: 1fr; }"
    BINDINGS = [
        Binding("up,k", "roll(-1)", show=False),
        Binding("down,j", "roll(1)", show=False),
        Binding("pageup", "page(-1)", show=False),
        Binding("pagedown,space", "page(1)", show=False),
        Binding("home", "first", show=False),
        Binding("end", "follow", show=False),
        Binding("left", "aside(-20)", show=False),
        Binding("right", "aside(20)", show=False),
    ]

    class NotFound(Message):
        """The text that was looked for stands nowhere further on."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.fixed = 1
        self.file: LogFile | None = None
        self.following = True
        self.pattern = ""
        self.searching = False
        self.shift = 0
        self._window: list[LogLine] = []
        self._bytes = -1

    def open(self, path: Path) -> None:
        """Show the log at PATH, from its end."""
        if self.file is None or self.file.path != path:
            self.file = LogFile(path)
            self.following, self.shift, self._window, self._bytes = True, 0, [], -1
        self.pull()

    def pull(self) -> None:
        """Take in what was appended."""
        if self.file is None or not self.room:
            return
        size = self.file.size()
        if size == self._bytes:
            return
        shrunk = size < self._bytes
        self._bytes = size
        if self.following or shrunk:
            self._window = self.file.before(size, self.room)
        elif len(self._window) < self.room:
            self._from(self._window[0].start if self._window else 0)
        self._refit()

    def _refit(self) -> None:
        self.total = max(1, len(self._window))  # an empty log says so
        self.paint()

    def _from(self, start: int) -> None:
        if self.file is not None:
            self._window = self.file.after(start, self.room)

    def lay_out(self) -> None:
        if self.file is None or not self.room:
            return
        if self.following:
            self._window = self.file.before(max(0, self._bytes), self.room)
        elif self._window:
            self._from(self._window[0].start)
        self.total = max(1, len(self._window))

    # -- drawing ---------------------------------------------------------------------------------------------------
    def heading(self, y: int) -> Line:
        if self.file is None:
            return ()
        size = max(0, self._bytes)
        at = self._window[-1].end / size * 100 if self._window and size else 100
        what = "following" if self.following else f"at {at:.0f} %"
        found = f" · looking for {self.pattern!r}" if self.searching else f" · {self.pattern!r}" if self.pattern else ""
        return ((f"log {bytes_in_words(size)} · {what}{found}", "title"),)

    def line(self, index: int) -> Line:
        if not self._window:
            return (("Nothing has been printed.", "dim"),)
        text = self._window[index].text.replace("\n", " ")[self.shift :]
        text = fit(text, self.columns).rstrip()
        if not self.pattern:
            return ((text, ""),)
        parts: list[tuple[str, str]] = []
        low, wanted, at = text.lower(), self.pattern.lower(), 0
        # lower() can change the length of exotic text; the marks would be off, so it goes unmarked
        while len(low) == len(text) and (found := low.find(wanted, at)) >= 0:
            parts += [(text[at:found], ""), (text[found : found + len(wanted)], "mark")]
            at = found + len(wanted)
        return (*parts, (text[at:], ""))

    # -- moving ----------------------------------------------------------------------------------------------------
    def scroll_lines(self, count: int) -> None:
        """COUNT lines down (or up, where negative); reaching the end follows the log from there."""
        if self.file is None or not self._window:
            return
        if count < 0:
            earlier = self.file.before(self._window[0].start, -count)
            if earlier:
                self.following = False
                self._window = (earlier + self._window)[: self.room]
        else:
            later = self.file.after(self._window[-1].end, count)
            self._window = (self._window + later)[-self.room :]
            if self._window[-1].end >= self._bytes:
                self.following = True
        self._refit()

    def action_first(self) -> None:
        """To the beginning of the log."""
        self.following = False
        self._from(0)
        self._refit()

    def action_follow(self) -> None:
        """To the end, and follow what comes."""
        self.following, self.shift = True, 0
        if self.file is not None:
            self._bytes = self.file.size()
            self._window = self.file.before(self._bytes, self.room)
        self._refit()

    def action_aside(self, by: int) -> None:
        """To the right of long lines, or back."""
        self.shift = max(0, self.shift + by)
        self.paint()

    # -- searching -------------------------------------------------------------------------------------------------
    def look_for(self, text: str, *, backwards: bool = False, anew: bool = False) -> None:
        """Go to the next line with TEXT (the earlier one where BACKWARDS; from the start of the view where ANEW)."""
        self.pattern = text
        if self.file is None or not text or not self._window:
            self._refit()
            return
        first = self._window[0]
        start = first.start if backwards or anew else first.end
        self.searching = True
        self._refit()
        file = self.file

        def search() -> None:
            from textual.worker import get_current_worker

            worker = get_current_worker()
            found = file.find(text, start, backwards=backwards, stop=lambda: worker.is_cancelled)
            if found is None and anew:  # from here on there is none: begin again at the top
                found = file.find(text, 0, stop=lambda: worker.is_cancelled)
            if not worker.is_cancelled:
                self.app.call_from_thread(self._found, found)

        self.run_worker(search, thread=True, exclusive=True, group="search")

    def _found(self, place: int | None) -> None:
        self.searching = False
        if place is None:
            self.post_message(self.NotFound())
        else:
            self.following = False
            self._from(place)
            if len(self._window) < self.room and self.file is not None and self._window:
                self._window = self.file.before(self._window[0].start, self.room - len(self._window)) + self._window
        self._refit()

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self.scroll_lines(3)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self.scroll_lines(-3)
