/** The active set as an order: how the API sorts it, and what a move changes. */

/** @import { Adapter } from "./types.mjs" */

/** Weights offered when an adapter names no range of its own. */
export const WEIGHT_RANGE = { min: -1, max: 2, step: 0.05 };

/**
 * By ordinal, those without one last, then by name without case: the order in which tokens are written.
 * @param {Adapter[]} items
 */
export function inComposeOrder(items) {
  return [...items].sort(
    (a, b) =>
      (a.ordinal ?? Infinity) - (b.ordinal ?? Infinity) ||
      compare(a.name.toLowerCase(), b.name.toLowerCase()) ||
      compare(a.id, b.id),
  );
}

/**
 * @template T
 * @param {T[]} items
 * @param {number} from
 * @param {number} to
 */
export function moved(items, from, to) {
  if (from === to || from < 0 || from >= items.length || to < 0 || to >= items.length) return items;
  const next = [...items];
  const [item] = next.splice(from, 1);
  next.splice(to, 0, item);
  return next;
}

/**
 * What has to be written so that each item's ordinal is its place.
 * @param {Adapter[]} items
 */
export function ordinalChanges(items) {
  return items.flatMap((item, ordinal) => (item.ordinal === ordinal ? [] : [{ id: item.id, ordinal }]));
}

/** @param {Adapter} adapter */
export function weightRange(adapter) {
  const min = adapter.weight_min ?? Math.min(WEIGHT_RANGE.min, adapter.weight);
  const max = adapter.weight_max ?? Math.max(WEIGHT_RANGE.max, adapter.weight);
  return { min, max: Math.max(min, max), step: WEIGHT_RANGE.step };
}

/**
 * A typed or dragged weight as it is stored: in range, three decimals; null when it is no number.
 * @param {Adapter} adapter
 * @param {number} value
 */
export function clampWeight(adapter, value) {
  if (!Number.isFinite(value)) return null;
  const { min, max } = weightRange(adapter);
  return Math.round(Math.max(min, Math.min(max, value)) * 1000) / 1000;
}

/**
 * @param {string} a
 * @param {string} b
 */
const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
