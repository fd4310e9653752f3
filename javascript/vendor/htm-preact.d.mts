import type { VNode } from "preact";

export { h, render, Component, createContext } from "preact";
export * from "preact/hooks";
export const html: (strings: TemplateStringsArray, ...values: unknown[]) => VNode;
