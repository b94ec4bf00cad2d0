// Arrays as the page gets them: [smallest, mean, largest, deviation, not finite, rows, columns, scale, data].

const LEVELS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz+-/";
// One strong, one weak against the page, so that they differ in grey as well; and what is not finite.
const INKS = { light: [[29, 78, 216], [245, 158, 11], [220, 38, 38]], dark: [[125, 200, 255], [200, 105, 0], [255, 60, 60]] };
const inks = () => INKS[document.documentElement.classList.contains("dark") ? "dark" : "light"];

const WORDS = { inf: Infinity, "-inf": -Infinity, nan: NaN };

function number(v) {
  if (!Number.isFinite(v)) return String(v).replace("Infinity", "inf").replace("NaN", "nan").replace("-", "−");
  const a = Math.abs(v);
  return (a && (a < 1e-3 || a >= 1e5) ? v.toExponential(2) : String(+v.toPrecision(3))).replaceAll("-", "−");
}

function entries(packed) { // the numbers, row by row; null where a whole block is not finite
  const [, , , , , , , scale, data] = packed;
  if (typeof data !== "string") return data.map(v => typeof v === "string" ? WORDS[v] : v);
  return [...data].map(c => c === "!" ? NaN : (LEVELS.indexOf(c) - 32) / 32 * scale);
}

function says(packed) {
  if (!packed) return "";
  const [low, mean, high, , bad, , , scale, data] = packed;
  if (scale === null && data.length === 1) return number(data[0]);
  if (scale === null && data.length <= 4) return `[${data.map(number).join(", ")}]`;
  const text = low === null ? "" : `${number(low)} … ${number(mean)} … ${number(high)}`;
  return bad ? `${text}${text ? ", " : ""}${bad} not finite` : text;
}

function paint(packed, canvas) { // one pixel an entry
  const [positive, negative, broken] = inks();
  const [, , , , , rows, columns] = packed, numbers = entries(packed);
  const most = Math.max(...numbers.map(v => Number.isFinite(v) ? Math.abs(v) : 0)) || 1;
  canvas.width = columns; canvas.height = rows;
  const context = canvas.getContext("2d"), image = context.createImageData(columns, rows);
  numbers.forEach((v, k) => {
    const fine = Number.isFinite(v), ink = fine ? (v < 0 ? negative : positive) : broken;
    image.data.set([...ink, fine ? Math.round(255 * Math.abs(v) / most) : 255], 4 * k);
  });
  context.putImageData(image, 0, 0);
  return canvas;
}

const pictures = new Map();
function strip(packed) { // as an address of data, made once in each theme
  const made = pictures.get(inks()) || pictures.set(inks(), new WeakMap()).get(inks());
  if (!made.has(packed)) made.set(packed, paint(packed, document.createElement("canvas")).toDataURL());
  return made.get(packed);
}
