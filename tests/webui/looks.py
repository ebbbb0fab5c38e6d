"""What the tests ask of the page as drawn: contrast for every text, and no fault that axe-core
finds. It comes in a package of PyPI, so that the tests need no npm.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import axe_playwright_python

# Gives [text, contrast, needed] of every visible text that has less than WCAG AA asks for (1.4.3;
# disabled controls are exempt).
PALE_TEXT = """() => {
  const parse = (text) => {
    const numbers = text.match(/[\\d.]+(e-?\\d+)?/g).map(Number);
    const scale = text.startsWith('color(') ? 255 : 1;
    return [numbers[0] * scale, numbers[1] * scale, numbers[2] * scale, numbers[3] ?? 1];
  };
  const over = (top, under) =>
    [0, 1, 2].map((i) => top[i] * top[3] + under[i] * (1 - top[3])).concat(1);
  const background = (element) => {
    const layers = [];
    for (let e = element; e; e = e.parentElement) {
      layers.push(parse(getComputedStyle(e).backgroundColor));
    }
    return layers.reverse().reduce((under, top) => over(top, under), [255, 255, 255, 1]);
  };
  const luminance = (c) => {
    const [r, g, b] = c.slice(0, 3).map((v) => v / 255)
      .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const pale = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode, element = node.parentElement;
    const style = getComputedStyle(element), text = node.textContent.trim();
    const visible = element.checkVisibility({opacityProperty: true, visibilityProperty: true});
    if (!text || !visible) continue;
    if (element.closest('[disabled], [aria-hidden="true"], script, style, noscript')) continue;
    if (element.closest('.toast-wrap')) continue;
    const box = element.getBoundingClientRect();
    if (box.width < 2 || box.height < 2) continue;
    const under = background(element);
    const colour = over(parse(element.closest('svg') ? style.fill : style.color), under);
    const [a, b] = [luminance(colour), luminance(under)];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const size = parseFloat(style.fontSize), bold = Number(style.fontWeight) >= 700;
    const needed = size >= 24 || (size >= 18.66 && bold) ? 3 : 4.5;
    if (contrast < needed) pale.push([text.slice(0, 40), Math.round(contrast * 100) / 100, needed]);
  }
  return pale;
}"""

# All rules but those of level AAA, which asks for more contrast than this page's colours have.
RUN_AXE = """async () => {
  const wanted = axe.getRules().filter(({tags}) => !tags.some((tag) => tag.endsWith('aaa')));
  const {violations} = await axe.run(document, {runOnly: wanted.map(({ruleId}) => ruleId)});
  return violations.flatMap(({id, nodes}) => nodes.map(({html}) => `${id}: ${html.slice(0, 160)}`));
}"""


def accessibility_faults(page: Any) -> list[str]:
    """What axe-core finds on the page as it stands: a rule and where it is broken, each."""
    if page.evaluate("typeof axe === 'undefined'"):
        page.evaluate(Path(axe_playwright_python.__file__).with_name("axe.min.js").read_text())
    found = page.evaluate(RUN_AXE)
    assert isinstance(found, list)
    return found


def lasting_faults(page: Any) -> list[str]:
    """What axe-core still finds once the page has settled: new parts fade in, pale at first."""
    for _ in range(20):
        found = accessibility_faults(page)
        if not found:
            break
        page.wait_for_timeout(250)
    return found
