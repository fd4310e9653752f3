/** The library's cards: as tall as all of them, drawn only where somebody looks, walked by the arrow keys. */

/** @import { Adapter } from "../types.mjs" */
import { html, useCallback, useEffect, useLayoutEffect, useRef, useState } from "../../vendor/htm-preact.mjs";
import { useApp, useStore } from "../context.mjs";
import { GAP_PX, gridHeight, itemAt, metricsFor, moveFocus, pagesFor, visibleRange } from "../grid.mjs";
import { text } from "../text.mjs";
import { Card } from "./card.mjs";

const CARD_ID = "lora_manager_card_";

/**
 * @typedef {{ width: number, from: number, to: number, pool: number, rowsInSight: number }} View
 */

export function Grid() {
  const { library, activeSet } = useApp();
  const list = useStore((state) => state.list);
  const activeItems = useStore((state) => state.active.items);
  const box = useRef(/** @type {HTMLElement | null} */ (null));
  const [focused, setFocused] = useState(0);
  const wantsFocus = useRef(false);
  const count = list.filtered;
  const view = useView(box, count);
  const metrics = metricsFor(view.width);
  const places = new Map(activeItems.map((item, place) => [item.id, place]));

  const pages = pagesFor(view.from, view.to);
  useEffect(() => {
    if (list.status === "ready" && view.width > 0) library.ensure(pages);
  }, [list.epoch, list.status, list.problem, pages.join()]);
  useEffect(() => setFocused(0), [list.epoch]);

  // Cards are recycled: the element that had the focus may show another adapter after this, or be gone.
  const hadFocus = box.current?.contains(document.activeElement) ?? false;
  useLayoutEffect(() => {
    if (!wantsFocus.current && !hadFocus) return;
    const face = /** @type {HTMLElement | null} */ (box.current?.querySelector(`[data-index="${focused}"]`));
    if (!face) return;
    if (face !== document.activeElement) face.focus({ preventScroll: true });
    if (wantsFocus.current) face.scrollIntoView({ block: "nearest" });
    wantsFocus.current = false;
  });

  /** @param {KeyboardEvent} event */
  function onKeyDown(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const next = moveFocus(event.key, focused, count, metrics.columns, view.rowsInSight);
    if (next === null) return;
    event.preventDefault();
    event.stopPropagation();
    wantsFocus.current = true;
    setFocused(next);
  }

  const onToggle = useCallback((/** @type {Adapter} */ adapter) => activeSet.toggle(adapter), [activeSet]);
  // The card with the focus stays, however far it is scrolled away: focus must not get lost.
  /** @param {number} index */
  const slot = (index) => (index >= view.from && index < view.to ? index % view.pool : "focused");
  const indices = range(view.from, view.to);
  if (count && (focused < view.from || focused >= view.to)) indices.push(Math.min(focused, count - 1));
  const owned = indices.map((index) => `${CARD_ID}${slot(index)}`).join(" ");
  // By slot, the elements never change places in the document; who reads it out gets the right order by aria-owns.
  /** @param {number} index */
  const rank = (index) => (slot(index) === "focused" ? Infinity : index % view.pool);
  const drawn = [...indices].sort((a, b) => rank(a) - rank(b));

  return html`
    <ul
      class="lm-grid"
      ref=${box}
      role="list"
      aria-label=${text.library.listLabel}
      aria-owns=${owned}
      aria-busy=${String(list.status === "loading")}
      style=${`height:${gridHeight(count, metrics)}px`}
      onKeyDown=${onKeyDown}
    >
      ${view.width > 0 &&
      drawn.map((index) => {
        const adapter = itemAt(list.pages, index);
        return html`<${Card}
          key=${slot(index)}
          domId=${CARD_ID + slot(index)}
          adapter=${adapter}
          index=${index}
          count=${count}
          place=${(adapter && places.get(adapter.id)) ?? -1}
          style=${placeOf(index, metrics, view.width)}
          focusable=${index === focused}
          onToggle=${onToggle}
          onFocus=${setFocused}
        />`;
      })}
    </ul>
  `;
}

/**
 * Which items are in sight. Measured against everything that can cut the grid off: its scroller, the root and the
 * window, since in the narrow layout another element scrolls. A hidden tab measures nothing.
 * @param {{ current: HTMLElement | null }} box
 * @param {number} count
 * @returns {View}
 */
function useView(box, count) {
  const [view, setView] = useState(/** @type {View} */ ({ width: 0, from: 0, to: 0, pool: 1, rowsInSight: 1 }));
  useLayoutEffect(() => {
    const grid = box.current;
    if (!grid) return undefined;
    const measure = () => {
      const { top, width } = grid.getBoundingClientRect();
      if (!width) return;
      let [first, last] = [0, window.innerHeight];
      for (const cutter of [grid.closest(".lm-scroll"), grid.closest(".lm-app")]) {
        const cut = cutter?.getBoundingClientRect();
        if (cut) [first, last] = [Math.max(first, cut.top), Math.min(last, cut.bottom)];
      }
      const metrics = metricsFor(width);
      const next = {
        width,
        ...visibleRange(first - top, last - top, count, metrics),
        rowsInSight: Math.max(1, Math.floor((last - first) / metrics.rowHeight)),
      };
      setView((/** @type {View} */ old) =>
        /** @type {(keyof View)[]} */ (Object.keys(next)).every((key) => old[key] === next[key]) ? old : next,
      );
    };
    measure();
    const sizes = new ResizeObserver(measure);
    sizes.observe(grid);
    const scroller = grid.closest(".lm-scroll");
    if (scroller) sizes.observe(scroller);
    document.addEventListener("scroll", measure, { capture: true, passive: true });
    return () => {
      sizes.disconnect();
      document.removeEventListener("scroll", measure, { capture: true });
    };
  }, [count]);
  return view;
}

/**
 * @param {number} index
 * @param {import("../grid.mjs").Metrics} metrics
 * @param {number} width
 */
function placeOf(index, { columns, cardHeight, rowHeight }, width) {
  const cell = (width - GAP_PX * (columns - 1)) / columns;
  const left = (index % columns) * (cell + GAP_PX);
  const top = Math.floor(index / columns) * rowHeight;
  return `left:${left.toFixed(2)}px;top:${top}px;width:${cell.toFixed(2)}px;height:${cardHeight}px`;
}

/**
 * @param {number} from
 * @param {number} to
 */
const range = (from, to) => Array.from({ length: Math.max(0, to - from) }, (_, i) => from + i);
