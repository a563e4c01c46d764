"use strict";
// The 3-D view: every shape of #scene in obj, side by side or laid over each other, all turning together.
(() => {
  const scene = JSON.parse(document.getElementById("scene").textContent);
  const box = document.getElementById("view");
  if (!box) return;
  const canvas = box.querySelector("canvas"), labels = document.getElementById("labels");
  const gl = canvas.getContext("webgl", { antialias: true, alpha: true, preserveDrawingBuffer: true });
  const message = document.getElementById("view-message");
  if (!gl) {
    message.textContent = "This browser cannot draw in 3-D (no WebGL): still pictures, where the run has them, show the same.";
    box.hidden = true;
    for (const tools of document.querySelectorAll("#surfaces .tools")) tools.hidden = true;
    for (const stills of document.querySelectorAll("#surfaces details")) stills.open = true;
    return;
  }
  const AXES = [[0.85, 0.2, 0.2], [0.13, 0.58, 0.25], [0.23, 0.44, 0.9]], PURPLE = [0.62, 0.25, 0.75];
  const FOV = 0.42, PER_PAGE = 24, START = { azimuth: 0.6, elevation: 0.42, zoom: 1 };
  const state = { ...START, over: false, page: 0, spin: !matchMedia("(prefers-reduced-motion: reduce)").matches, lost: false };

  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer;

  // Triangles that share no corner, so that each has its own normal.
  function flat(vertices, faces) {
    const positions = new Float32Array(faces.length * 3), normals = new Float32Array(faces.length * 3);
    for (let f = 0; f < faces.length; f += 3) {
      const p = [0, 1, 2].map((k) => vertices.subarray(3 * faces[f + k], 3 * faces[f + k] + 3));
      const u = [0, 1, 2].map((k) => p[1][k] - p[0][k]), v = [0, 1, 2].map((k) => p[2][k] - p[0][k]);
      const n = [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]];
      const length = Math.hypot(...n) || 1;
      for (let k = 0; k < 3; k++) for (let c = 0; c < 3; c++) {
        positions[3 * (f + k) + c] = p[k][c];
        normals[3 * (f + k) + c] = n[c] / length;
      }
    }
    return { positions, normals };
  }

  // A thin bar from one point to another.
  function bar(from, to, radius) {
    const d = to.map((x, i) => x - from[i]), length = Math.hypot(...d), w = d.map((x) => x / length);
    const other = Math.abs(w[0]) < 0.9 ? [1, 0, 0] : [0, 1, 0];
    const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
    const unit = (a) => a.map((x) => x / Math.hypot(...a));
    const u = unit(cross(w, other)), v = cross(w, u), points = [], faces = [], sides = 6;
    for (const end of [from, to]) for (let s = 0; s < sides; s++) {
      const a = (2 * Math.PI * s) / sides;
      points.push(...end.map((x, i) => x + radius * (Math.cos(a) * u[i] + Math.sin(a) * v[i])));
    }
    for (let s = 0; s < sides; s++) {
      const t = (s + 1) % sides;
      faces.push(s, t, s + sides, t, t + sides, s + sides);
    }
    return flat(new Float32Array(points), faces);
  }

  function colourOf(index) {
    const hue = (index * 0.618034) % 1, chroma = 0.32, light = 0.66;
    return [0, 8, 4].map((n) => {
      const k = (n + hue * 12) % 12;
      return light - chroma * Math.max(-1, Math.min(k - 3, 9 - k, 1)) * 0.9;
    });
  }

  const GREYS = { template: [0.74, 0.71, 0.66], other: [0.45, 0.52, 0.62] };
  const data = scene.shapes.map((shape, index) => ({
    ...flat(Float32Array.from(new Uint16Array(bytes(shape.vertices)), (x, i) => x * shape.unit + shape.low[i % 3]), new Uint16Array(bytes(shape.faces))),
    name: shape.name + (shape.kind === "rejected" ? " (rejected)" : ""), shown: true,
    colour: GREYS[shape.kind] || colourOf(index - 1),
  }));
  const LENGTH = 0.55;
  const extras = [0, 1, 2].map((i) => ({
    ...bar([0, 0, 0], [0, 1, 2].map((k) => (k === i ? LENGTH : 0)), 0.008), colour: AXES[i],
  }));
  if (scene.symmetry) {
    extras.push({ ...bar(scene.symmetry.map((x) => -0.7 * x), scene.symmetry.map((x) => 0.7 * x), 0.005), colour: PURPLE });
  }

  let program, places;
  function prepare() {
    const compile = (type, source) => {
      const shader = gl.createShader(type);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      return shader;
    };
    program = gl.createProgram();
    gl.attachShader(program, compile(gl.VERTEX_SHADER, `
      attribute vec3 position, normal; uniform mat4 view, lens; varying vec3 n;
      void main() { n = mat3(view) * normal; gl_Position = lens * view * vec4(position, 1.0); }`));
    gl.attachShader(program, compile(gl.FRAGMENT_SHADER, `
      precision mediump float; uniform vec3 colour; uniform float alpha, rim; varying vec3 n;
      void main() { vec3 u = normalize(n); float light = 0.45 + 0.55 * abs(dot(u, normalize(vec3(0.3, 0.5, 0.8))));
        float edge = 1.0 - abs(u.z), a = mix(alpha, min(1.0, alpha * (0.15 + 4.0 * edge * edge)), rim);
        gl_FragColor = vec4(colour * light, 1.0) * a; }`));
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program));
    places = Object.fromEntries([
      ...["position", "normal"].map((name) => [name, gl.getAttribLocation(program, name)]),
      ...["view", "lens", "colour", "alpha", "rim"].map((name) => [name, gl.getUniformLocation(program, name)]),
    ]);
    for (const shape of [...data, ...extras]) {
      shape.buffers = [shape.positions, shape.normals].map((values) => {
        const buffer = gl.createBuffer();
        gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
        gl.bufferData(gl.ARRAY_BUFFER, values, gl.STATIC_DRAW);
        return buffer;
      });
    }
  }

  // obj has z up, x front; azimuth 0 looks at the front.
  function viewMatrix() {
    const { azimuth: a, elevation: e, zoom } = state, ca = Math.cos(a), sa = Math.sin(a), ce = Math.cos(e), se = Math.sin(e);
    const back = [ce * ca, ce * sa, se], right = [-sa, ca, 0], up = [-se * ca, -se * sa, ce];
    const distance = 3.0 / zoom, lift = 0.08;
    return [right[0], up[0], back[0], 0, right[1], up[1], back[1], 0, right[2], up[2], back[2], 0, 0, -lift * ce, -distance - lift * se, 1];
  }
  function lensMatrix(aspect) {
    const f = 1 / Math.tan(FOV / 2), near = 0.1, far = 50, wide = Math.min(1, aspect);
    return [f * wide / aspect, 0, 0, 0, 0, f * wide, 0, 0, 0, 0, (far + near) / (near - far), -1, 0, 0, (2 * far * near) / (near - far), 0];
  }
  function draw(shape, alpha, rim) {
    gl.uniform3fv(places.colour, shape.colour);
    gl.uniform1f(places.alpha, alpha);
    gl.uniform1f(places.rim, rim);
    shape.buffers.forEach((buffer, i) => {
      const place = i ? places.normal : places.position;
      gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
      gl.enableVertexAttribArray(place);
      gl.vertexAttribPointer(place, 3, gl.FLOAT, false, 0, 0);
    });
    gl.drawArrays(gl.TRIANGLES, 0, shape.positions.length / 3);
  }
  const tips = [0, 1, 2].map((i) => [0, 1, 2].map((k) => (k === i ? LENGTH + 0.06 : 0)));

  function cells() {
    const every = data.filter((shape) => shape.shown), width = box.clientWidth;
    const beside = !state.over && every.length > 1, pages = beside ? Math.ceil(every.length / PER_PAGE) : 1;
    state.page = Math.max(0, Math.min(state.page, pages - 1));
    const shown = pages > 1 ? every.slice(state.page * PER_PAGE, (state.page + 1) * PER_PAGE) : every;
    turnPages(pages);
    if (!beside) {
      return { width, height: Math.min(560, Math.max(320, width * 0.62)), list: [{ shapes: shown, x: 0, y: 0, w: 1, h: 1 }] };
    }
    const side = Math.max(width < 500 ? 110 : 150, width / Math.ceil(Math.sqrt(shown.length * 2.2)));
    const columns = Math.max(1, Math.floor(width / side + 1e-6)), rows = Math.ceil(shown.length / columns), cell = width / columns;
    const list = shown.map((shape, i) => ({
      shapes: [shape], x: (i % columns) / columns, y: Math.floor(i / columns) / rows, w: 1 / columns, h: 1 / rows,
    }));
    return { width, height: rows * cell, list };
  }

  const pageTools = document.getElementById("pages"), pageWords = document.getElementById("page");
  function turnPages(pages) {
    const words = `page ${state.page + 1} of ${pages}`;
    pageTools.hidden = pages < 2;
    if (pageWords.textContent !== words) pageWords.textContent = words;
  }

  let labelled = "";
  function render() {
    if (state.lost) return;
    const layout = cells(), ratio = Math.min(2, devicePixelRatio || 1, 4096 / layout.height);
    const w = Math.round(layout.width * ratio), h = Math.round(layout.height * ratio);
    if (canvas.width !== w || canvas.height !== h) {
      canvas.width = w; canvas.height = h; canvas.style.height = layout.height + "px";
    }
    gl.viewport(0, 0, w, h);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    gl.enable(gl.DEPTH_TEST);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    gl.useProgram(program);
    const view = viewMatrix();
    gl.uniformMatrix4fv(places.view, false, view);
    for (const cell of layout.list) {
      const cw = cell.w * w, ch = cell.h * h;
      gl.viewport(Math.round(cell.x * w), Math.round(h - (cell.y + cell.h) * h), Math.round(cw), Math.round(ch));
      gl.uniformMatrix4fv(places.lens, false, lensMatrix(cw / ch));
      const many = cell.shapes.length > 1;
      for (const extra of extras) draw(extra, 1, 0);
      gl.depthMask(!many);
      const alpha = many ? Math.max(0.12, 0.7 / Math.sqrt(cell.shapes.length)) : 1;
      for (const shape of cell.shapes) draw(shape, alpha, many ? 1 : 0);
      gl.depthMask(true);
    }
    write(layout, view);
  }

  // Names of the cells, and letters at the tips of the axes of the first one.
  function write(layout, view) {
    const first = layout.list[0], titles = layout.list.map((cell) => (cell.shapes.length === 1 ? cell.shapes[0].name : ""));
    const key = JSON.stringify([layout.width, layout.height, titles]);
    if (key !== labelled) {
      labelled = key;
      labels.replaceChildren(...layout.list.map((cell, i) => {
        const span = document.createElement("span");
        span.textContent = titles[i];
        Object.assign(span.style, { left: cell.x * 100 + "%", bottom: (1 - cell.y - cell.h) * 100 + "%", width: cell.w * 100 + "%", padding: "2px 6px", textAlign: "center" });
        return span;
      }), ...["x", "y", "z"].map((letter) => {
        const span = document.createElement("span");
        span.textContent = letter;
        span.className = "ax " + letter;
        return span;
      }));
    }
    const cw = first.w * layout.width, ch = first.h * layout.height, lens = lensMatrix(cw / ch);
    tips.forEach((tip, i) => {
      const at = [0, 1, 2].map((r) => view[r] * tip[0] + view[4 + r] * tip[1] + view[8 + r] * tip[2] + view[12 + r]);
      const x = (lens[0] * at[0]) / -at[2], y = (lens[5] * at[1]) / -at[2], span = labels.children[layout.list.length + i];
      Object.assign(span.style, { left: first.x * layout.width + ((x + 1) / 2) * cw - 4 + "px", top: first.y * layout.height + ((1 - y) / 2) * ch - 9 + "px" });
    });
  }

  let waiting = false, last = 0;
  function frame(now) {
    waiting = false;
    if (state.spin) {
      state.azimuth += Math.min(0.05, (now - last) / 1000) * 0.5;
      if (visible && !document.hidden) ask();
    }
    last = now;
    render();
  }
  function ask() {
    if (!waiting) { waiting = true; requestAnimationFrame(frame); }
  }

  const turn = (da, de) => {
    state.azimuth += da;
    state.elevation = Math.max(-1.55, Math.min(1.55, state.elevation + de));
    ask();
  };
  const zoom = (factor) => { state.zoom = Math.max(0.4, Math.min(4, state.zoom * factor)); ask(); };
  const spinBox = document.getElementById("spin");
  const stop = () => { state.spin = false; spinBox.checked = false; };
  const boxes = [...document.querySelectorAll("[data-shape]")];
  const show = (wanted) => {
    data.forEach((shape, i) => { shape.shown = wanted(shape, i); boxes[i].checked = shape.shown; });
    ask();
  };
  let single = -1;
  const alone = (index) => {
    single = (index + data.length) % data.length;
    show((shape, i) => i === single);
    message.textContent = data[single].name + " alone";
  };
  const actions = {
    "page-on": () => { state.page++; ask(); }, "page-back": () => { state.page--; ask(); },
    all: () => { message.textContent = ""; show(() => true); },
    none: () => { message.textContent = ""; show(() => false); },
    template: () => alone(0), next: () => alone(single + 1), back: () => alone(Math.max(single, 0) - 1),
    larger: () => zoom(1.25), smaller: () => zoom(0.8),
    reset: () => { stop(); Object.assign(state, START); ask(); },
  };
  for (const button of document.querySelectorAll("[data-do]")) button.addEventListener("click", actions[button.dataset.do]);
  boxes.forEach((input, i) => input.addEventListener("change", () => { data[i].shown = input.checked; ask(); }));
  for (const radio of document.querySelectorAll("[name=layout]")) {
    radio.addEventListener("change", () => { state.over = radio.value === "over"; ask(); });
  }
  data.forEach((shape, i) => {
    boxes[i].parentElement.querySelector("i").style.background = `rgb(${shape.colour.map((c) => Math.round(c * 255))})`;
  });
  spinBox.checked = state.spin;
  spinBox.addEventListener("change", () => { state.spin = spinBox.checked; last = performance.now(); ask(); });
  canvas.addEventListener("keydown", (event) => {
    const keys = {
      ArrowLeft: () => turn(-0.1, 0), ArrowRight: () => turn(0.1, 0), ArrowUp: () => turn(0, 0.1), ArrowDown: () => turn(0, -0.1),
      "+": actions.larger, "=": actions.larger, "-": actions.smaller, Home: actions.reset,
    };
    if (event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
    event.preventDefault();
    stop();
    keys[event.key]();
  });
  canvas.addEventListener("pointerdown", (event) => { stop(); canvas.setPointerCapture(event.pointerId); });
  canvas.addEventListener("pointermove", (event) => {
    if (event.buttons & 1) turn(-event.movementX * 0.01, event.movementY * 0.01);
  });
  canvas.addEventListener("webglcontextlost", (event) => { event.preventDefault(); state.lost = true; });
  canvas.addEventListener("webglcontextrestored", () => { state.lost = false; prepare(); ask(); });
  let visible = true;
  if ("IntersectionObserver" in window) {
    new IntersectionObserver((entries) => { visible = entries[0].isIntersecting; if (visible) ask(); }).observe(canvas);
  }
  document.addEventListener("visibilitychange", ask);
  addEventListener("resize", ask);
  prepare();
  render();
  ask();
})();
