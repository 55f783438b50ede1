// The faults of the page as it is laid out now, a sentence each. An expression, evaluated by tests/browser.py.
(() => {
  const SMALLEST_PX = matchMedia('print').matches ? 9.5 : 11.5, LEAST_CONTRAST = 4.5, SLACK = 1;
  const faults = [], root = document.documentElement, width = root.clientWidth;
  const named = (node) => `<${node.tagName.toLowerCase()}> "${(node.textContent || '').trim().slice(0, 40)}"`;

  if (root.scrollWidth > width) faults.push(`the page is ${root.scrollWidth} px wide on a screen of ${width}`);

  const inDrawing = (node) => node.closest('svg') !== null;
  for (const element of document.body.querySelectorAll('*')) {
    const box = element.getBoundingClientRect();
    if (!inDrawing(element) && box.width > 0 && (box.right > width + SLACK || box.left < -SLACK))
      faults.push(`outside of the screen: ${named(element)} from ${box.left} to ${box.right}`);
    const style = getComputedStyle(element);
    const cut = ['hidden', 'clip', 'auto', 'scroll'];
    if (!inDrawing(element) && element.textContent.trim() &&
        ((cut.includes(style.overflowX) && element.scrollWidth > element.clientWidth + SLACK) ||
         (cut.includes(style.overflowY) && element.scrollHeight > element.clientHeight + SLACK)))
      faults.push(`clipped: ${named(element)}`);
    if (element.tagName === 'svg' && !element.hasAttribute('aria-hidden') && !element.querySelector('title'))
      faults.push('a drawing without a title');
  }

  // A canvas turns every way of writing a colour into bytes.
  const pen = Object.assign(document.createElement('canvas'), {width: 1, height: 1})
    .getContext('2d', {willReadFrequently: true});
  const bytes = (colour) => {
    pen.clearRect(0, 0, 1, 1);
    pen.fillStyle = colour;
    pen.fillRect(0, 0, 1, 1);
    return [...pen.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (let node = element; node; node = node.parentElement) {
      const colour = bytes(getComputedStyle(node).backgroundColor);
      if (colour[3] > 0) return colour;
    }
    return [255, 255, 255, 255];
  };

  const lines = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode, element = node.parentElement;
    if (!node.textContent.trim() || inDrawing(element) || ['SCRIPT', 'STYLE'].includes(element.tagName)) continue;
    const style = getComputedStyle(element);
    if (parseFloat(style.fontSize) < SMALLEST_PX) faults.push(`too small, ${style.fontSize}: ${named(element)}`);
    const [one, other] = [light(bytes(style.color)), light(behind(element))].sort((a, b) => b - a);
    const contrast = (one + 0.05) / (other + 0.05);
    if (contrast < LEAST_CONTRAST) faults.push(`too little contrast, ${contrast.toFixed(2)}: ${named(element)}`);
    const range = document.createRange();
    range.selectNodeContents(node);
    for (const box of range.getClientRects())
      if (box.width > SLACK) lines.push({box, node, size: parseFloat(style.fontSize)});
  }

  // The boxes of lines are higher than their letters, so a quarter of the letters' height may overlap.
  lines.sort((a, b) => a.box.top - b.box.top);
  lines.forEach((line, index) => {
    for (let next = index + 1; next < lines.length && lines[next].box.top < line.box.bottom; next++) {
      const other = lines[next];
      const high = Math.min(line.box.bottom, other.box.bottom) - other.box.top;
      const wide = Math.min(line.box.right, other.box.right) - Math.max(line.box.left, other.box.left);
      if (wide > SLACK && high > Math.min(line.size, other.size) / 4)
        faults.push(`overlap: ${named(line.node.parentElement)} and ${named(other.node.parentElement)}`);
    }
  });
  return [...new Set(faults)];
})()
