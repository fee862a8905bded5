"""The renderer that a warm process keeps from one command to the next; every other process keeps none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from harness.errors import DeviceLostError
from harness.schema.render import OnStep, Render, Renderer, RenderRequest, TrajectoryRenderer

if TYPE_CHECKING:
    from harness.pipeline.renderer import ReferenceRenderer


class KeptRenderer:
    """One renderer, lent to one command at a time.

    Attributes:
        lost: its GPU was lost; nothing can be rendered in this process any more.
    """

    def __init__(self) -> None:
        self.lost = False
        self._key: tuple[Any, ...] | None = None
        self._renderer: ReferenceRenderer | None = None
        self._is_lent = False

    def lend(self, key: tuple[Any, ...], make: Callable[[], ReferenceRenderer]) -> Renderer:
        """Return the kept renderer where it was made for ``key``, else a new one, which is kept instead.

        A renderer that is lent already stays where it is: then another one is made, and not kept.
        """
        if self._is_lent:
            return make()
        if self._renderer is None or self._key != key:
            self.close()
            self._renderer, self._key = make(), key
        else:
            self._renderer.begin_again()
        self._is_lent = True
        return _Lent(self, self._renderer)

    def take_back(self) -> None:
        """Take note that the renderer is free again."""
        self._is_lent = False

    def holds(self) -> list[str]:
        """Say what is loaded, one line each."""
        return self._renderer.holds() if self._renderer is not None else []

    def close(self) -> None:
        """Free what is kept."""
        if self._renderer is not None:
            self._renderer.close()
        self._renderer = self._key = None


class _Lent(Renderer):
    """A kept renderer in the hands of one command, which cannot close it."""

    def __init__(self, kept: KeptRenderer, renderer: ReferenceRenderer) -> None:
        self._kept, self._renderer = kept, renderer

    def render(self, request: RenderRequest, on_step: OnStep | None = None) -> Render:
        try:
            return self._renderer.render(request, on_step)
        except DeviceLostError:
            self._kept.lost = True
            raise

    def expect(self, requests: Sequence[RenderRequest]) -> None:
        self._renderer.expect(requests)

    def trajectories(self) -> TrajectoryRenderer | None:
        return self._renderer.trajectories()

    def close(self) -> None:
        self._kept.take_back()


_kept: KeptRenderer | None = None


@contextmanager
def keeping_renderer() -> Iterator[KeptRenderer]:
    """Keep the reference renderer from one command to the next, within the block."""
    global _kept  # noqa: PLW0603
    _kept = KeptRenderer()
    try:
        yield _kept
    finally:
        kept, _kept = _kept, None
        if not kept.lost:
            kept.close()


def lend_kept(key: tuple[Any, ...], make: Callable[[], ReferenceRenderer]) -> Renderer:
    """Return the kept renderer for ``key``; in a process that keeps none, one of the caller's own."""
    return make() if _kept is None else _kept.lend(key, make)
