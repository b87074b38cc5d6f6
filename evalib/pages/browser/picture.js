// The picture as the network gets it, size × size: taken from a file, hidden in part, drawn over, put back.

// The middle square of an image, each pixel the mean of those that it stands for; white where it is transparent.
const shrink = (image, size) => {
  const [width, height] = [image.width, image.height];
  const side = Math.min(width, height);
  const fold = Math.max(1, Math.min(16, Math.floor(side / size)));
  const context = make("canvas", { width: size * fold, height: size * fold }).getContext("2d", { willReadFrequently: true });
  context.fillStyle = "#fff";
  context.fillRect(0, 0, size * fold, size * fold);
  context.imageSmoothingQuality = "high";
  context.drawImage(image, (width - side) / 2, (height - side) / 2, side, side, 0, 0, size * fold, size * fold);
  const { data } = context.getImageData(0, 0, size * fold, size * fold);
  const sums = new Float64Array(3 * size * size);
  for (let p = 0; p < data.length; p += 4) {
    const [i, j] = [Math.floor(p / 4 / size / fold / fold), Math.floor(((p / 4) % (size * fold)) / fold)];
    for (let c = 0; c < 3; c++) sums[3 * (i * size + j) + c] += data[p + c];
  }
  return Uint8ClampedArray.from(sums, (sum) => sum / fold / fold);
};

// `changed` hears of every change, `said` gets words for who cannot see it.
const drawingArea = (size, grey, changed, said) => {
  const canvas = make("canvas", { width: size, height: size });
  const patch = make("i");
  const node = make("div", { class: "area", tabindex: 0, role: "application", "aria-label": `The picture, ${size} by ${size} pixels`,
    "aria-description": "Arrow keys move the patch, with Shift by one pixel. Space hides or paints what is under it. Control and Z takes a change back." }, canvas, patch);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const state = { pixels: new Uint8ClampedArray(3 * size * size), first: null, past: [], brush: 8, colour: grey, at: [size / 2 - 4, size / 2 - 4], last: null };

  const draw = () => {
    const image = context.createImageData(size, size);
    range(size * size).forEach((p) => image.data.set([...state.pixels.subarray(3 * p, 3 * p + 3), 255], 4 * p));
    context.putImageData(image, 0, 0);
    changed();
  };
  const move = (i, j) => {
    state.at = [i, j].map((place) => Math.min(Math.max(Math.round(place), 0), size - state.brush));
    ["--top", "--left"].forEach((name, axis) => node.style.setProperty(name, state.at[axis] / size));
    node.style.setProperty("--brush", state.brush / size);
  };
  const remember = () => { state.past = [...state.past.slice(-99), state.pixels.slice()]; };
  const apply = () => {
    const [top, left] = state.at;
    for (let i = top; i < top + state.brush; i++) {
      for (let j = left; j < left + state.brush; j++) state.pixels.set(state.colour, 3 * (i * size + j));
    }
  };
  const to = ({ clientX, clientY }) => {
    const box = canvas.getBoundingClientRect();
    return [(clientY - box.top) / box.height, (clientX - box.left) / box.width].map((share) => share * size - state.brush / 2);
  };
  // From where the pointer was to where it is, in steps of one pixel, so that a quick stroke has no gaps.
  const stroke = (event) => {
    const [start, end] = [state.last ?? to(event), to(event)];
    const steps = Math.max(1, Math.ceil(Math.max(...[0, 1].map((axis) => Math.abs(end[axis] - start[axis])))));
    for (const step of range(steps + 1)) {
      move(...[0, 1].map((axis) => start[axis] + ((end[axis] - start[axis]) * step) / steps));
      apply();
    }
    state.last = end;
    draw();
  };
  // A finger that swipes scrolls the page; one that taps hides what is under it. It draws once "draw" has been chosen.
  let tapped = null;
  node.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    if (event.pointerType === "touch" && !state.strokes) { tapped = [event.clientX, event.clientY]; return; }
    node.setPointerCapture(event.pointerId);
    remember();
    stroke(event);
  });
  node.addEventListener("pointermove", (event) => (state.last ? stroke(event) : move(...to(event))));
  node.addEventListener("pointerup", (event) => {
    state.last = null;
    if (tapped && Math.hypot(event.clientX - tapped[0], event.clientY - tapped[1]) < 10) {
      remember();
      stroke(event);
      state.last = null;
    }
    tapped = null;
  });
  node.addEventListener("pointercancel", () => { state.last = tapped = null; });
  const undo = () => {
    if (!state.past.length) return;
    state.pixels = state.past.pop();
    draw();
  };
  node.addEventListener("keydown", (event) => {
    const step = event.shiftKey ? 1 : Math.ceil(state.brush / 2);
    const [i, j] = state.at;
    const target = { ArrowUp: [i - step, j], ArrowDown: [i + step, j], ArrowLeft: [i, j - step], ArrowRight: [i, j + step] }[event.key];
    const back = event.key === "z" && (event.ctrlKey || event.metaKey);
    if (target) move(...target);
    else if (back) undo();
    else if (event.key === " " || event.key === "Enter") { remember(); apply(); draw(); }
    else return;
    event.preventDefault();
    event.stopPropagation();
    if (target) said(`rows ${span(state.at[0], state.brush)}, columns ${span(state.at[1], state.brush)}`);
  });
  return {
    node, canvas, undo,
    pixels: () => state.pixels,
    first: () => state.first,
    edited: () => state.pixels.some((value, p) => value !== state.first[p]),
    restart: () => { remember(); state.pixels = state.first.slice(); draw(); },
    put: (pixels) => { state.first = pixels; state.pixels = pixels.slice(); state.past = []; draw(); },
    tool: (brush, colour, strokes) => {
      const centre = state.at.map((place) => place + state.brush / 2);
      Object.assign(state, { brush, colour, strokes });
      node.classList.toggle("strokes", strokes);
      move(...centre.map((place) => place - brush / 2));
    },
  };
};
