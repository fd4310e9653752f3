/** Rules that a file, not a function, keeps: what SD.Next injects, whom our styles reach, what is vendored. */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";

const ROOT = join(dirname(fileURLToPath(import.meta.url)), "../../..");
const read = (/** @type {string} */ path) => readFileSync(join(ROOT, path), "utf8");
const modules = (/** @type {string} */ folder) =>
  /** @type {string[]} */ (readdirSync(join(ROOT, folder), { recursive: true, encoding: "utf8" }))
    .filter((name) => name.endsWith(".mjs"))
    .map((name) => join(folder, name));

describe("javascript/", () => {
  it("has one script at its top: SD.Next injects each one it finds there", () => {
    const scripts = readdirSync(join(ROOT, "javascript")).filter((name) => /\.m?js$/.test(name));
    assert.deepEqual(scripts, ["lora_manager.mjs"], "Put modules into javascript/lib/.");
  });

  it("imports by relative address only: there is no bundler to resolve names", () => {
    for (const path of modules("javascript/lib")) {
      for (const [, from] of read(path).matchAll(/^(?:import|export)\b[^"';]*from\s*["']([^"']+)["']/gm)) {
        assert.match(from, /^\.\.?\/.+\.mjs$/, `${path} imports ${from}`);
      }
    }
  });

  it("leaves elements that SD.Next lays hands on to SD.Next", () => {
    for (const path of modules("javascript/lib/components")) {
      const found = read(path).replace(/^\s*(\/?\*|\/\/).*$/gm, "").match(/<(footer|header|nav|h[1-6])\b|<label[^>]*>\s*<span/);
      assert.equal(found?.[0], undefined, `${path}: the log goes into the first <footer>, headings and label texts are translated; use a <div> or <b>.`);
      if (!path.endsWith("button.mjs")) {
        assert.doesNotMatch(read(path), /^[^*]*<button\b/m, `${path}: use Button of button.mjs, which SD.Next does not translate.`);
      }
    }
  });

  it("keeps its words in text.mjs", () => {
    for (const path of modules("javascript/lib/components")) {
      const found = read(path).match(/(?:aria-label|title|placeholder)="[^"]*[a-z]/);
      assert.equal(found?.[0], undefined, `${path}: put the text into text.mjs.`);
    }
  });

  it("carries the vendored library that its README names", () => {
    const sum = createHash("sha256").update(readFileSync(join(ROOT, "javascript/vendor/htm-preact.mjs"))).digest("hex");
    assert.ok(read("javascript/vendor/README.md").includes(sum), "Update version and checksum in javascript/vendor/README.md.");
  });
});

describe("style.css", () => {
  const css = read("style.css").replace(/\/\*[\s\S]*?\*\//g, "");

  it("reaches nothing outside the root", () => {
    const selectors = [...css.matchAll(/([^{}]+)\{/g)]
      .map(([, selector]) => selector.trim())
      .filter((selector) => !selector.startsWith("@") && !/^(to|from|\d+%)$/.test(selector));
    assert.ok(selectors.length > 100);
    for (const selector of selectors) {
      for (const part of splitTop(selector)) assert.match(part, /^#lora_manager\b/, selector);
    }
  });

  it("names its animations and containers as ours: those names are the whole page's", () => {
    for (const [, name] of css.matchAll(/@(?:keyframes|container)\s+([\w-]+)/g)) assert.match(name, /^lm-/);
  });
});

/** Splits a selector list at its own commas, not at those inside brackets. @param {string} selector */
function splitTop(selector) {
  const parts = [""];
  let depth = 0;
  for (const letter of selector) {
    if (letter === "(") depth++;
    if (letter === ")") depth--;
    if (letter === "," && depth === 0) parts.push("");
    else parts[parts.length - 1] += letter;
  }
  return parts.map((part) => part.trim());
}
