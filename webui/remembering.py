"""What a visitor has typed and set stays in the browser until the tab is closed, so that a reload
loses none of it. The server keeps nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

QUIET: dict[str, Any] = {
    "api_visibility": "private",
    "queue": False,
    "show_progress": "hidden",
    "trigger_mode": "multiple",
}


def remember(name: str, components: Sequence[gr.Component]) -> None:
    """Keep the values of components over a reload of the page.

    Args:
        name: that they are kept under; each list of components has its own.
    """
    restore = f"""(...values) => {{
      const kept = JSON.parse(sessionStorage.getItem('{name}') ?? '{{}}');
      return values.map((value, index) => kept[index] ?? value);
    }}"""
    gr.on(None, None, list(components), list(components), js=restore, **QUIET)
    # An event of its own for each: one that reads them all makes Gradio put back what was typed.
    for index, component in enumerate(components):
        keep = f"""(value) => {{
          const kept = JSON.parse(sessionStorage.getItem('{name}') ?? '{{}}');
          sessionStorage.setItem('{name}', JSON.stringify({{...kept, [{index}]: value}}));
          return [];
        }}"""
        component.change(None, component, None, js=keep, **QUIET)
