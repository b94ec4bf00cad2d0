// Arrays as the page gets them: [smallest, mean, largest, deviation, not finite, rows, columns, scale, data].

const LEVELS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz+-/";
const POSITIVE = [29, 78, 216], NEGATIVE = [245, 158, 11], BROKEN = [220, 38, 38]; // one dark, one light: also in grey

function number(v) {
  if (typeof v !== "number") return String(v).replace("-", "−");
  const a = Math.abs(v);
  return (a && (a < 1e-3 || a >= 1e5) ? v.toExponential(2) : String(+v.toPrecision(3))).replace("-", "−");
}

function entries(packed) { // the numbers, row by row; null where a whole block is not finite
  const [, , , , , , , scale, data] = packed;
  if (typeof data !== "string") return data.map(Number);
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
  const [, , , , , rows, columns] = packed, numbers = entries(packed);
  const most = Math.max(...numbers.map(v => Number.isFinite(v) ? Math.abs(v) : 0)) || 1;
  canvas.width = columns; canvas.height = rows;
  const context = canvas.getContext("2d"), image = context.createImageData(columns, rows);
  numbers.forEach((v, k) => {
    const fine = Number.isFinite(v), ink = fine ? (v < 0 ? NEGATIVE : POSITIVE) : BROKEN;
    image.data.set([...ink, fine ? Math.round(255 * Math.abs(v) / most) : 255], 4 * k);
  });
  context.putImageData(image, 0, 0);
  return canvas;
}

const pictures = new WeakMap();
function strip(packed) { // as an address of data, made once
  if (!pictures.has(packed)) pictures.set(packed, paint(packed, document.createElement("canvas")).toDataURL());
  return pictures.get(packed);
}
