import { assertEquals, assertThrows } from "@std/assert";
import { commonVersions, knowsBackend, parseVersions } from "./cni_plugin.ts";

const OLD = { versions: ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0"] };
const NEW = { versions: [...OLD.versions, "1.1.0"] };

Deno.test("parseVersions() has what a plugin answers, and refuses all else", () => {
  assertEquals(parseVersions('{"cniVersion":"1.0.0","supportedVersions":["0.4.0","1.0.0"]}'), [
    "0.4.0",
    "1.0.0",
  ]);
  for (const answer of ["", "no", "null", "[]", "{}", '{"supportedVersions":[]}', "7"]) {
    assertThrows(() => parseVersions(answer), SyntaxError, "VERSION", answer);
  }
  assertThrows(() => parseVersions('{"supportedVersions":[1]}'), SyntaxError);
});

Deno.test("commonVersions() has what all plugins speak", () => {
  assertEquals(commonVersions([]), ["0.3.1", "0.4.0", "1.0.0", "1.1.0"]);
  assertEquals(commonVersions([OLD]), ["0.3.1", "0.4.0", "1.0.0"]);
  assertEquals(commonVersions([NEW, OLD]), ["0.3.1", "0.4.0", "1.0.0"]);
  assertEquals(commonVersions([{ versions: ["2.0.0", "1.1.0"] }]), ["1.1.0"]);
  assertEquals(commonVersions([{ versions: ["0.1.0"] }]), []);
});

Deno.test("knowsBackend() goes by the version that portmap prints, else by what it speaks", () => {
  const cases: readonly (readonly [string, typeof OLD, boolean])[] = [
    ["CNI portmap plugin v1.6.0\nCNI protocol versions supported: …", NEW, true],
    ["CNI portmap plugin v1.10.2", NEW, true],
    ["CNI portmap plugin v2.0.0", NEW, true],
    ["CNI portmap plugin v1.5.1", NEW, false],
    ["CNI portmap plugin v1.1.1", OLD, false],
    ["CNI portmap plugin version unknown", NEW, true],
    ["CNI portmap plugin version unknown", OLD, false],
    ["", OLD, false],
  ];
  for (const [about, answer, expected] of cases) {
    assertEquals(knowsBackend(about, answer), expected, about);
  }
});
