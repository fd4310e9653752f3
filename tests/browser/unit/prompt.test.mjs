import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { pieces, promptFor, readInfo } from "../../../javascript/lib/prompt.mjs";

describe("pieces", () => {
  it("mark the tokens and lose nothing", () => {
    const prompt = "a <b> cat <lora:x:0.8>, <lora:y:1:te=0.5> end";
    const parts = pieces(prompt);
    assert.equal(parts.map(({ text }) => text).join(""), prompt);
    assert.deepEqual(parts.filter(({ token }) => token).map(({ text }) => text), ["<lora:x:0.8>", "<lora:y:1:te=0.5>"]);
  });
  it("are none for nothing", () => assert.deepEqual(pieces(""), []));
});

describe("promptFor", () => {
  const composed = { prompt: "<lora:x:0.800> <lora:y:1.000>", tokens: ["<lora:x:0.800>", "<lora:y:1.000>"], written: false };

  it("keeps what a person wrote there, and puts the tokens behind it", () => {
    assert.equal(promptFor("a cat", composed), "a cat <lora:x:0.800> <lora:y:1.000>");
  });
  it("does not write a name twice when sent again", () => {
    const once = promptFor("a cat", composed);
    assert.equal(promptFor(once, composed), once);
    assert.equal(promptFor("a <lora:x:0.3> cat <lora:z:1>", composed), "a cat <lora:z:1> <lora:x:0.800> <lora:y:1.000>");
  });
  it("is our whole prompt when one was written here, or there is nothing there", () => {
    assert.equal(promptFor("a cat", { ...composed, prompt: "a dog <lora:x:0.800>", written: true }), "a dog <lora:x:0.800>");
    assert.equal(promptFor("  ", composed), composed.prompt);
  });
});

describe("readInfo", () => {
  const infotext = "a cat\nSteps: 20, Seed: 42, Size: 512x512";
  it("reads an infotext", () => assert.deepEqual(readInfo(infotext), { seed: 42, text: infotext }));
  it("reads an object", () => assert.deepEqual(readInfo({ seed: 7, infotexts: [infotext] }), { seed: 7, text: infotext }));
  it("reads SD.Next's JSON string", () => {
    assert.deepEqual(readInfo(JSON.stringify({ all_seeds: [9], infotexts: [infotext] })), { seed: 9, text: infotext });
  });
  it("finds the seed in the text where the field is missing or -1", () => {
    assert.equal(readInfo({ seed: -1, infotexts: [infotext] }).seed, 42);
  });
  it("makes nothing up", () => {
    for (const info of [null, undefined, 5, {}]) assert.deepEqual(readInfo(info), { seed: null, text: "" });
    assert.equal(readInfo("{broken").seed, null);
  });
});
