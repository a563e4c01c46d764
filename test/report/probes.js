// What the tests in the browser ask a page of the report.
() => {
  const KEYS = "a[href], button, input, summary, canvas, [tabindex='0']";
  const NAMED = "button, input, a, summary, canvas, img, [role=img], [role=group], fieldset";
  const paint = document.createElement("canvas").getContext("2d", { willReadFrequently: true });

  // Any CSS colour as red, green, blue (0-255) and alpha (0-1).
  function parse(text) {
    paint.clearRect(0, 0, 1, 1);
    paint.fillStyle = text;
    paint.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = paint.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  }

  // Relative luminance of WCAG 2.
  function luminance(colour) {
    const [r, g, b] = colour.slice(0, 3).map((value) => {
      const v = value / 255;
      return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  }

  function background(element) {
    for (let e = element; e; e = e.parentElement) {
      const colour = parse(getComputedStyle(e).backgroundColor);
      if (colour[3] > 0.5) return colour;
    }
    return [255, 255, 255, 1];
  }

  // Texts whose contrast with what is behind them is too low, with the contrast.
  function faint(least) {
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = [];
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
      const element = node.parentElement, style = getComputedStyle(element);
      if (!node.data.trim() || !element.checkVisibility() || element.closest("script, style")) continue;
      const ink = luminance(parse(element.closest("svg") ? style.fill : style.color));
      const paper = luminance(background(element));
      const contrast = (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
      if (contrast < least) found.push([node.data.trim().slice(0, 40), contrast]);
    }
    return found;
  }

  // Numbers everything that the tab key should stop at, in order; returns how many there are.
  function numberStops() {
    const stops = [...document.querySelectorAll(KEYS)].filter(
      (e) => e.checkVisibility() && !(e.type === "radio" && !e.checked),
    );
    stops.forEach((element, index) => { element.dataset.stop = index; });
    return stops.length;
  }

  const nameless = () => [...document.querySelectorAll(NAMED)]
    .filter((e) => !(e.getAttribute("aria-label") || e.alt || e.textContent.trim() || e.labels?.[0]?.textContent.trim()))
    .map((e) => e.outerHTML.slice(0, 80));
  const fits = () => document.documentElement.scrollWidth <= innerWidth;
  const unfold = () => document.querySelectorAll("details").forEach((part) => { part.open = true; });
  const shown = () => [...document.querySelectorAll("[data-shape]")].map((box) => box.checked);
  const cells = () => [...document.querySelectorAll("#labels span:not(.ax)")].map((e) => [e.style.left, e.style.bottom]);
  const picture = () => document.querySelector("canvas").toDataURL().split(",")[1];
  const levels = () => [...document.querySelectorAll("h1, h2, h3")].map((e) => Number(e.tagName[1]));
  // Done when what was asked for has been drawn.
  const settled = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  window.probes = { faint, numberStops, picture, nameless, fits, unfold, shown, cells, levels, settled };
}
