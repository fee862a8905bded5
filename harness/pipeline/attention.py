"""The kernel that computes the transformer's attention: diffusers' attention backends."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from harness.errors import HarnessError


def attention_kernel(name: str | None) -> AbstractContextManager[None]:
    """Return a context in which diffusers' backend ``name`` computes attention; None keeps the active one.

    Raises:
        HarnessError: diffusers has no such backend.
    """
    if name is None:
        return nullcontext()
    from diffusers.models.attention_dispatch import AttentionBackendName, attention_backend

    known = [backend.value for backend in AttentionBackendName]
    if name not in known:
        raise HarnessError(f"unknown backend {name!r}", field="attention", fix=f"choose {', '.join(known)}")
    return attention_backend(name)  # type: ignore[no-any-return]


def active_attention() -> str:
    """Return the name of the backend that is active."""
    from diffusers.models.attention_dispatch import _AttentionBackendRegistry

    return str(_AttentionBackendRegistry.get_active_backend()[0].value)
