// Looks at a page within a frame, whose width is a phone's; what it finds becomes the title of the page around it.
// Contrasts are as WCAG 2.2 defines them; 4.5 is its least for texts of usual size (success criterion 1.4.3).
"use strict";
const frame = document.getElementById("page");
const channels = (colour) => (colour.match(/[\d.]+/g) ?? []).map(Number);
const over = (top, below) => below.map((value, i) => value + (top[i] - value) * (top[3] ?? 1));
const linear = (value) => (value <= 10 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4);
const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
frame.addEventListener("load", () => {
  const view = frame.contentWindow, page = frame.contentDocument;
  const style = (one) => view.getComputedStyle(one);
  const name = (one) => `${one.tagName} ${one.textContent.trim().slice(0, 30)}`;
  const ground = (one) => (one ? over(channels(style(one).backgroundColor), ground(one.parentElement)) : [255, 255, 255]);
  const contrast = (one) => {
    const below = ground(one);
    const [a, b] = [luminance(below), luminance(over(channels(style(one).color), below))];
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  };
  const isUnseen = (one) => {
    one.focus();
    return page.activeElement !== one || style(one).outlineStyle === "none";
  };
  page.querySelectorAll("details").forEach((one) => { one.open = true; });
  const hasText = (one) => [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
  const texts = [...page.body.querySelectorAll("*")].filter((one) => !one.closest("svg, script") && hasText(one));
  const pressed = [...page.querySelectorAll("nav a, button, summary, .box")];
  const root = page.documentElement;
  document.title = JSON.stringify({
    dark: view.matchMedia("(prefers-color-scheme: dark)").matches,
    width: view.innerWidth,
    wider: root.scrollWidth - root.clientWidth,
    unreached: pressed.filter((one) => one.tabIndex < 0).map(name),
    unseen: pressed.filter(isUnseen).map(name),
    texts: texts.length,
    faint: texts.filter((one) => contrast(one) < 4.5).map((one) => `${name(one)} ${contrast(one).toFixed(2)}`),
  });
});
