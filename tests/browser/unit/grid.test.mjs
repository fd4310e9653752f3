import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { gridHeight, itemAt, metricsFor, moveFocus, pagesFor, PER_PAGE, visibleRange } from "../../../javascript/lib/grid.mjs";

describe("metricsFor", () => {
  for (const [width, columns] of [[300, 2], [440, 2], [540, 3], [960, 6], [1800, 11]]) {
    it(`${width} px: ${columns} columns`, () => assert.equal(metricsFor(width).columns, columns));
  }
  it("has a column even without any width", () => assert.equal(metricsFor(0).columns, 1));
});

describe("visibleRange", () => {
  const metrics = { columns: 4, cardHeight: 188, rowHeight: 200 };

  it("draws what is in sight and two rows around it", () => {
    assert.deepEqual(visibleRange(2000, 2800, 10_000, metrics), { from: 32, to: 68, pool: 36 });
  });

  it("draws the same number wherever one scrolls", () => {
    const sizes = new Set();
    for (let top = 0; top < 490_000; top += 777) {
      const { from, to } = visibleRange(top, top + 830, 10_000, metrics);
      sizes.add(to - from);
      assert.ok(from * 50 <= top && (to / 4) * 200 >= Math.min(top + 830, 500_000), `covers ${top}`);
    }
    assert.equal(sizes.size, 1);
  });

  it("ends where the list ends", () => {
    assert.deepEqual(visibleRange(0, 800, 6, metrics), { from: 0, to: 6, pool: 36 });
    assert.deepEqual(visibleRange(0, 800, 0, metrics), { from: 0, to: 0, pool: 36 });
    assert.equal(visibleRange(499_800, 500_600, 10_000, metrics).to, 10_000);
  });

  it("never needs two cards in one slot", () => {
    const { from, to, pool } = visibleRange(123_456, 124_300, 10_000, metrics);
    const slots = Array.from({ length: to - from }, (_, i) => (from + i) % pool);
    assert.equal(new Set(slots).size, slots.length);
  });
});

describe("gridHeight", () => {
  it("has no gap behind the last row", () => assert.equal(gridHeight(5, { columns: 4, cardHeight: 188, rowHeight: 200 }), 388));
  it("is nothing for nothing", () => assert.equal(gridHeight(0, metricsFor(900)), 0));
});

describe("pages", () => {
  it("are those that hold the range", () => {
    assert.deepEqual(pagesFor(0, 30), [1]);
    assert.deepEqual(pagesFor(PER_PAGE - 1, PER_PAGE + 1), [1, 2]);
    assert.deepEqual(pagesFor(PER_PAGE, 2 * PER_PAGE), [2]);
    assert.deepEqual(pagesFor(0, 0), []);
  });
  it("give an item, or null while they are not there", () => {
    const pages = new Map([[2, ["x", "y"]]]);
    assert.equal(itemAt(pages, PER_PAGE + 1), "y");
    assert.equal(itemAt(pages, 0), null);
    assert.equal(itemAt(pages, PER_PAGE + 2), null);
  });
});

describe("moveFocus", () => {
  /** @param {string} key @param {number} index */
  const move = (key, index) => moveFocus(key, index, 10, 4, 2);
  it("goes by one, by row, by what is in sight, and to the ends", () => {
    assert.deepEqual(["ArrowRight", "ArrowLeft", "ArrowDown", "ArrowUp", "PageDown", "Home", "End"].map((key) => move(key, 4)), [5, 3, 8, 0, 9, 0, 9]);
  });
  it("stays inside", () => assert.deepEqual([move("ArrowLeft", 0), move("ArrowDown", 9), move("PageUp", 1)], [0, 9, 0]));
  it("leaves other keys alone", () => assert.equal(move("a", 4), null));
  it("has nowhere to go in an empty list", () => assert.equal(moveFocus("End", 0, 0, 4, 2), null));
});
