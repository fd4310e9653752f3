import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { clampWeight, inComposeOrder, moved, ordinalChanges, weightRange } from "../../../javascript/lib/order.mjs";
import { adapter } from "./fakes.mjs";

describe("inComposeOrder", () => {
  it("is by ordinal, those without one last, then by name without case", () => {
    const items = [adapter("b"), adapter("Z", { ordinal: 1 }), adapter("A"), adapter("y", { ordinal: 1 }), adapter("x", { ordinal: 0 })];
    assert.deepEqual(inComposeOrder(items).map(({ name }) => name), ["x", "y", "Z", "A", "b"]);
  });
});

describe("moved", () => {
  it("up and down", () => {
    assert.deepEqual(moved(["a", "b", "c"], 2, 0), ["c", "a", "b"]);
    assert.deepEqual(moved(["a", "b", "c"], 0, 2), ["b", "c", "a"]);
  });
  it("is the same list where there is nowhere to go", () => {
    const items = ["a", "b"];
    for (const [from, to] of [[0, 0], [0, -1], [1, 2], [-1, 0]]) assert.equal(moved(items, from, to), items);
  });
});

describe("ordinalChanges", () => {
  it("are only those whose place is another", () => {
    const items = [adapter("a", { ordinal: 0 }), adapter("b", { ordinal: 4 }), adapter("c")];
    assert.deepEqual(ordinalChanges(items), [{ id: "id-b", ordinal: 1 }, { id: "id-c", ordinal: 2 }]);
  });
});

describe("weights", () => {
  it("range from -1 to 2 where the adapter says nothing", () => assert.deepEqual(weightRange(adapter("a")), { min: -1, max: 2, step: 0.05 }));
  it("follow the adapter's own range", () => {
    assert.deepEqual(weightRange(adapter("a", { weight_min: 0, weight_max: 1.2 })), { min: 0, max: 1.2, step: 0.05 });
  });
  it("make room for a weight that is already outside", () => assert.equal(weightRange(adapter("a", { weight: 3 })).max, 3));
  it("are kept in range and to three decimals", () => {
    assert.deepEqual([9, -9, 0.33333].map((value) => clampWeight(adapter("a"), value)), [2, -1, 0.333]);
  });
  it("are numbers", () => assert.equal(clampWeight(adapter("a"), NaN), null));
});
