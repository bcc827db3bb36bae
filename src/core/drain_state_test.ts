import { assertEquals, assertThrows } from "@std/assert";
import {
  type DrainState,
  MAX_DRAIN_WAIT_MS,
  parseDrainReport,
  parseDrainState,
  remainingWait,
  renderDrainState,
} from "./drain_state.ts";

const SINCE = Date.parse("2026-01-02T03:04:05.678Z");
const STATE: DrainState = { since: SINCE, waitMs: 30_000 };

Deno.test("renderDrainState() and parseDrainState() are each other's reverse", () => {
  assertEquals(JSON.parse(renderDrainState(STATE)), {
    version: 1,
    since: "2026-01-02T03:04:05.678Z",
    wait_ms: 30_000,
  });
  for (
    const more of [{}, { announcedAt: SINCE + 12 }, { announcedAt: SINCE, withdrawnAt: SINCE + 1 }]
  ) {
    const state = { announcedAt: undefined, withdrawnAt: undefined, ...STATE, ...more };
    assertEquals(parseDrainState(renderDrainState(state)), state);
  }
});

Deno.test("parseDrainState() names what is wrong", () => {
  const good = JSON.parse(renderDrainState(STATE));
  const cases: readonly (readonly [text: string, says: string])[] = [
    ["", "it is not JSON"],
    ['{"version": 1', "it is not JSON"],
    ["null", "it is not an object"],
    ["[]", "version is undefined, not 1"],
    [JSON.stringify({ ...good, version: 2 }), "version is 2, not 1"],
    [JSON.stringify({ ...good, since: undefined }), "since is missing"],
    [JSON.stringify({ ...good, since: "yesterday" }), 'since is "yesterday", not a time'],
    [JSON.stringify({ ...good, withdrawn_at: 7 }), "withdrawn_at is 7, not a time"],
    ...["30s", -1, MAX_DRAIN_WAIT_MS + 1, null].map((wait_ms) =>
      [
        JSON.stringify({ ...good, wait_ms }),
        `wait_ms is ${JSON.stringify(wait_ms)}, not milliseconds up to a day`,
      ] as const
    ),
  ];
  for (const [text, says] of cases) {
    assertThrows(() => parseDrainState(text), Error, says, text);
  }
  assertEquals(parseDrainState(JSON.stringify({ ...good, later: 1 })).since, SINCE);
});

Deno.test("remainingWait() is between nothing and all of the wait, whatever the clock says", () => {
  assertEquals(remainingWait(STATE, SINCE), undefined);
  const announced = { ...STATE, announcedAt: SINCE };
  assertEquals(
    [-3_600_000, 0, 10_000, 30_000, 3_600_000].map((ms) => remainingWait(announced, SINCE + ms)),
    [30_000, 30_000, 20_000, 0, 0],
  );
});

Deno.test("parseDrainReport() takes an agent's answer and nothing else", () => {
  const report = { phase: "withdrawn", addresses: ["203.0.113.200"], routed: [] };
  assertEquals(parseDrainReport(report), report as ReturnType<typeof parseDrainReport>);
  for (const other of [undefined, null, "withdrawn", {}, { ...report, phase: "gone" }]) {
    assertThrows(() => parseDrainReport(other), TypeError, "Cannot read the agent's answer");
  }
});
