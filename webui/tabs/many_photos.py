"""Tab 2: many photos in one list, whose captions are edited in place.

The list is drawn by the scripts in webui/editor, which talk to `webui.album_routes`. Gradio draws
the settings alone.
"""

from __future__ import annotations

import json

import gradio as gr

from captioner.confidence import UNSURE
from webui.album_routes import SCRIPTS
from webui.decoding_options import options
from webui.html import percent

# All scripts are asked for at once, not each when another one imports it. Gradio's own come from
# elsewhere, so the address is made from the page's.
START = """
const load = (name) => import(new URL(`photos/script/${name}`, document.baseURI));
%s.map(load);
load('main.js').then(({start}) => start(element));
"""
# The editor needs the settings too, so they are kept here over a reload, and not as .remembered.
KEPT = "many-photos-settings"  # where the browser's tab keeps them
REMEMBER = f"""(...values) => {{
  window.captionSettings = values;
  sessionStorage.setItem('{KEPT}', JSON.stringify(values));
}}"""
RECALL = f"""() => {{
  const usual = %s, kept = JSON.parse(sessionStorage.getItem('{KEPT}') ?? 'null');
  window.captionSettings = kept?.length === usual.length ? kept : usual;
  return window.captionSettings;
}}"""


def build() -> None:
    """Draw the tab."""
    with gr.Column(elem_id="photo-settings"):
        gr.HTML(
            '<p class="fine">These hold for the photos that are captioned from now on.</p>',
            container=False,
            apply_default_css=False,
        )
        chosen = options(candidates=False)
    gr.HTML(
        f'<div class="photo-editor" data-unsure="{percent(UNSURE)}">'
        '<div class="drop-place"></div></div>',  # until the scripts come
        elem_id="photos",
        js_on_load=START % json.dumps(sorted(script.name for script in SCRIPTS.glob("*.js"))),
        container=False,
        apply_default_css=False,
    )
    settings = chosen.components
    usual = json.dumps([component.value for component in settings])
    gr.on(None, None, None, settings, js=RECALL % usual, api_visibility="private")  # at first
    gr.on(
        [component.change for component in settings],
        None,
        settings,
        js=REMEMBER,
        api_visibility="private",
    )
