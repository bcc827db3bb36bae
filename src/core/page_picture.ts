/**
 * The picture of the page: who the node's peers are and what they are told, the node, the addresses that
 * its pods share, and the pods. Boxes and lines as values, each with its place; what they say is
 * `page_boxes.ts`, and `templates/status.html` draws them.
 *
 *     peers ──sessions── node ──announced, or not── anycast addresses ──served, or held back── pods
 *
 * @module
 */
import type { PageInput } from "./page.ts";
import { boxesOf, type Content, linesOf, type TextKind, type Tone } from "./page_boxes.ts";

/** One line of text in a box. */
export interface BoxText {
  readonly x: number;
  readonly y: number;
  /** What fits. */
  readonly text: string;
  /** All of it, where it was cut. */
  readonly whole?: string;
  readonly kind: TextKind;
}

export interface Box {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
  readonly tone: Tone;
  readonly texts: readonly BoxText[];
}

export interface Line {
  /** SVG path. */
  readonly path: string;
  readonly tone: Tone;
  /** Nothing goes this way. */
  readonly dashed: boolean;
}

export interface Picture {
  readonly width: number;
  readonly height: number;
  readonly headings: readonly { readonly x: number; readonly text: string }[];
  readonly boxes: readonly Box[];
  readonly lines: readonly Line[];
}

/** Boxes of a column that are drawn; what is more is one box that says how many, and in the tables. */
const MAX_BOXES = 24;
const WIDTH = 300;
const GAP = 80;
const TOP = 34;
const SPACE = 14;
const LINE_HEIGHT = 17;
/** Characters of a line that fit into a box. */
const MAX_CHARACTERS = 39;
const COLUMNS = ["Peers", "Node", "Anycast addresses", "Pods"] as const;

/** Draws the node and what is around it. */
export function pictureOf(input: PageInput): Picture {
  const columns = boxesOf(input).map(limited);
  const height = Math.max(...columns.map(heightOf)) + TOP + SPACE;
  const boxes = new Map<string, Box>();
  for (const [n, contents] of columns.entries()) {
    let y = TOP + (height - TOP - SPACE - heightOf(contents)) / 2;
    for (const content of contents) {
      const box = place(content, n * (WIDTH + GAP) + 1, y);
      boxes.set(content.key, box);
      y += box.height + SPACE;
    }
  }
  return {
    width: COLUMNS.length * (WIDTH + GAP) - GAP + 2,
    height,
    headings: COLUMNS.map((text, n) => ({ x: n * (WIDTH + GAP) + 1, text })),
    boxes: [...boxes.values()],
    lines: linesOf(input).flatMap((edge): readonly Line[] => {
      const from = boxes.get(edge.from);
      const to = boxes.get(edge.to);
      return from === undefined || to === undefined
        ? []
        : [{ path: pathOf(from, to), tone: edge.tone, dashed: edge.dashed }];
    }),
  };
}

/** The first boxes of a column, and one for the rest. */
function limited(contents: readonly Content[]): readonly Content[] {
  const rest = contents.length - MAX_BOXES;
  if (rest <= 0) return contents;
  const texts = [[`${rest} more`, "title"], ["in the tables below"]] as const;
  return [...contents.slice(0, MAX_BOXES), {
    key: `after ${contents[MAX_BOXES]!.key}`,
    tone: "plain",
    texts,
  }];
}

function place({ tone, texts }: Content, x: number, y: number): Box {
  return {
    x,
    y,
    width: WIDTH,
    height: boxHeight(texts.length),
    tone,
    texts: texts.map(([text, kind = "text"], n) => {
      const cut = text.length > MAX_CHARACTERS;
      return {
        x: x + 12,
        y: y + 22 + n * LINE_HEIGHT,
        text: cut ? `${text.slice(0, MAX_CHARACTERS - 1)}…` : text,
        whole: cut ? text : undefined,
        kind,
      };
    }),
  };
}

function boxHeight(lines: number): number {
  return lines * LINE_HEIGHT + 14;
}

function heightOf(contents: readonly Content[]): number {
  return contents.reduce((sum, { texts }) => sum + boxHeight(texts.length) + SPACE, 0);
}

/** A curve from the right side of a box to the left side of another. */
function pathOf(from: Box, to: Box): string {
  const [x1, y1] = [from.x + from.width, from.y + from.height / 2];
  const [x2, y2] = [to.x, to.y + to.height / 2];
  const middle = (x1 + x2) / 2;
  return `M${x1} ${y1} C${middle} ${y1} ${middle} ${y2} ${x2} ${y2}`;
}
