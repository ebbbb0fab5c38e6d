"""What a visitor has typed and set stays in the browser until the tab is closed, so that a reload
loses none of it. The server keeps nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import gradio as gr


def remember(name: str, components: Sequence[gr.Component]) -> None:
    """Keep the values of components over a reload of the page.

    Args:
        name: that they are kept under; each list of components has its own.
    """
    # A component that is being drawn writes its first value, which must not replace what was kept.
    keep = f"""(...values) => {{
      if (window.restored?.has('{name}')) sessionStorage.setItem('{name}', JSON.stringify(values));
    }}"""
    restore = f"""(...values) => {{
      (window.restored ??= new Set()).add('{name}');
      const kept = JSON.parse(sessionStorage.getItem('{name}') ?? '[]');
      return kept.length === values.length ? kept : values;
    }}"""
    values = list(components)
    gr.on(None, None, values, values, js=restore, api_visibility="private")  # when the page opens
    gr.on(
        [component.change for component in values],
        None,
        values,
        None,
        js=keep,
        api_visibility="private",
    )
