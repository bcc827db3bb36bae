import { assertEquals } from "@std/assert";
import { parseCniArgs } from "./cni.ts";
import { parsePod } from "./pod_manifest.ts";
import { isUidOf } from "./pod_identity.ts";

const HASH = "0a1b2c3d4e5f60718293a4b5c6d7e8f9";
const KEY = "kubernetes.io/config.";

Deno.test("isUidOf() knows a static pod by its mirror pod, and nobody by what anybody may write", () => {
  const cases: readonly [uid: string, annotations: Record<string, string>, is: boolean][] = [
    ["m1", {}, true],
    ["", {}, true],
    ["u2", {}, false],
    ["m1", { [`${KEY}mirror`]: HASH, [`${KEY}hash`]: HASH }, true],
    [HASH, { [`${KEY}mirror`]: HASH, [`${KEY}hash`]: HASH }, true],
    [HASH, { [`${KEY}mirror`]: HASH }, true],
    [HASH, { [`${KEY}mirror`]: "other", [`${KEY}hash`]: HASH }, true],
    ["u2", { [`${KEY}mirror`]: HASH, [`${KEY}hash`]: HASH, [`${KEY}source`]: "u2" }, false],
    [HASH, { [`${KEY}hash`]: HASH }, false],
    [HASH, { [`${KEY}seen`]: HASH, [`${KEY}source`]: HASH }, false],
  ];
  for (const [uid, annotations, is] of cases) {
    assertEquals(isUidOf(uid, { uid: "m1", annotations }), is, JSON.stringify([uid, annotations]));
  }
  assertEquals(isUidOf("u2", { uid: "", annotations: {} }), true, "a manifest without UID");
});

Deno.test("a UID is taken from the runtime and from a Pod alike", () => {
  const takes = (act: () => unknown): boolean => {
    try {
      act();
      return true;
    } catch {
      return false;
    }
  };
  const cases: Record<string, boolean> = {
    [crypto.randomUUID()]: true,
    [HASH]: true,
    "web.0_A-1": true,
    "": true,
    ["u".repeat(64)]: true,
    ["u".repeat(65)]: false,
    "a:b": false,
    "a/b": false,
    "a b": false,
    "\u00e9": false,
  };
  for (const [uid, taken] of Object.entries(cases)) {
    const args = `K8S_POD_NAMESPACE=a;K8S_POD_NAME=b;K8S_POD_UID=${uid}`;
    assertEquals(takes(() => parseCniArgs(args)), taken, uid);
    assertEquals(takes(() => parsePod({ metadata: { name: "b", uid } })), taken, uid);
  }
});
