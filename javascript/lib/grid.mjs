/** The arithmetic of a grid that shows ten thousand cards by drawing only the ones in sight. */

export const PER_PAGE = 60;
export const GAP_PX = 12;
const MIN_CARD_PX = 150;
/** On a phone-sized width two narrow columns beat one wide one. */
const MIN_CARD_NARROW_PX = 124;
const NARROW_PX = 420;
const CARD_RATIO = 1.28;
/** Rows drawn above and below what is in sight, so that scrolling does not meet empty space. */
const SPARE_ROWS = 2;

/**
 * @typedef {{ columns: number, cardHeight: number, rowHeight: number }} Metrics
 */

/**
 * @param {number} width of the grid, px
 * @returns {Metrics}
 */
export function metricsFor(width) {
  const least = width < NARROW_PX ? MIN_CARD_NARROW_PX : MIN_CARD_PX;
  const columns = Math.max(1, Math.floor((width + GAP_PX) / (least + GAP_PX)));
  const cardHeight = Math.round(((width - GAP_PX * (columns - 1)) / columns) * CARD_RATIO);
  return { columns, cardHeight, rowHeight: cardHeight + GAP_PX };
}

/**
 * @param {number} count
 * @param {Metrics} metrics
 */
export function gridHeight(count, { columns, rowHeight }) {
  return count === 0 ? 0 : Math.ceil(count / columns) * rowHeight - GAP_PX;
}

/**
 * The items to draw: `[from, to)`, whole rows, and (but for a short list) always as many of them for one height of what is
 * in sight: then scrolling recycles cards and adds none.
 * @param {number} top of what is in sight, px from the grid's own top
 * @param {number} bottom
 * @param {number} count
 * @param {Metrics} metrics
 */
export function visibleRange(top, bottom, count, { columns, rowHeight }) {
  const rows = Math.ceil(count / columns);
  const drawn = Math.ceil(Math.max(0, bottom - top) / rowHeight) + 1 + 2 * SPARE_ROWS;
  const first = Math.max(0, Math.min(rows - drawn, Math.floor(top / rowHeight) - SPARE_ROWS));
  return { from: first * columns, to: Math.min(count, (first + drawn) * columns), pool: drawn * columns };
}

/**
 * The pages (from 1) that hold the items `[from, to)`.
 * @param {number} from
 * @param {number} to
 */
export function pagesFor(from, to) {
  const pages = [];
  for (let page = Math.floor(from / PER_PAGE) + 1; (page - 1) * PER_PAGE < to; page++) pages.push(page);
  return pages;
}

/**
 * @template T
 * @param {Map<number, T[]>} pages
 * @param {number} index
 * @returns {T | null} null while its page is not there
 */
export function itemAt(pages, index) {
  return pages.get(Math.floor(index / PER_PAGE) + 1)?.[index % PER_PAGE] ?? null;
}

/**
 * Where an arrow key leads from `index`; null for a key that moves nothing.
 * @param {string} key
 * @param {number} index
 * @param {number} count
 * @param {number} columns
 * @param {number} rowsInSight
 */
export function moveFocus(key, index, count, columns, rowsInSight) {
  /** @type {Record<string, number>} */
  const steps = {
    ArrowLeft: -1,
    ArrowRight: 1,
    ArrowUp: -columns,
    ArrowDown: columns,
    PageUp: -columns * Math.max(1, rowsInSight),
    PageDown: columns * Math.max(1, rowsInSight),
    Home: -count,
    End: count,
  };
  if (!(key in steps) || count === 0) return null;
  return Math.max(0, Math.min(count - 1, index + steps[key]));
}
