/** Numbers, times and names as a person reads them. */

/** @import { Warning } from "./types.mjs" */

const NUMBER = new Intl.NumberFormat(undefined);

/** @param {number} value */
export const count = (value) => NUMBER.format(value);

/** @param {number} seconds */
export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min ${String(whole % 60).padStart(2, "0")} s`;
  return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
}

const AGE = new Intl.RelativeTimeFormat(undefined, { numeric: "auto" });

/**
 * @param {string} time RFC 3339
 * @param {number} nowMs
 * @returns {string} "5 minutes ago"; empty for what is no time
 */
export function age(time, nowMs) {
  const seconds = (Date.parse(time) - nowMs) / 1000;
  if (!Number.isFinite(seconds)) return "";
  /** @type {[Intl.RelativeTimeFormatUnit, number][]} */
  const units = [["day", 86_400], ["hour", 3_600], ["minute", 60]];
  for (const [unit, size] of units) {
    if (Math.abs(seconds) >= size) return AGE.format(Math.round(seconds / size), unit);
  }
  return AGE.format(Math.round(Math.min(0, seconds)), "second");
}

/**
 * One or two letters for a card without a picture: "add_detail-xl" → "AD".
 * @param {string} name
 */
export function initials(name) {
  const words = name.match(/[\p{L}\p{N}]+/gu) ?? [];
  const letters = words.length > 1 ? words.slice(0, 2).map((word) => [...word][0]) : [...(words[0] ?? "?")].slice(0, 2);
  return letters.join("").toUpperCase();
}

/**
 * A hue (0..359) that stays the same for a name.
 * @param {string} name
 */
export function hue(name) {
  let hash = 0;
  for (const letter of name) hash = (hash * 31 + (letter.codePointAt(0) ?? 0)) >>> 0;
  return hash % 360;
}

/**
 * A name with invisible places to break the line: names with underscores offer a browser none.
 * @param {string} name
 */
export const breakable = (name) => name.replace(/[_\-.](?=.)/g, "$&\u200b");

/**
 * @param {(Warning | string)[] | null | undefined} warnings
 * @returns {Warning[]}
 */
export function asWarnings(warnings) {
  return (warnings ?? []).map((warning) =>
    typeof warning === "string" ? { code: "warning", message: warning, adapter_id: null } : warning,
  );
}
