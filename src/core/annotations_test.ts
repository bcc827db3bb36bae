import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { ANNOTATION_KEYS, parsePodAnnotations, type PodOptions } from "./annotations.ts";
import { formatAddress, formatPrefix } from "./cidr.ts";
import { ANNOTATION_PREFIX } from "./config.ts";
import { CniCode, CniError } from "./errors.ts";

const BOTH = { ipv6: true, ipv4: true };

function prefixed(annotations: Record<string, string>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(annotations).map(([key, value]) => [ANNOTATION_PREFIX + key, value]),
  );
}

function optionsOf(annotations: Record<string, string>, defaults = BOTH): PodOptions {
  const { options, warnings } = parsePodAnnotations(prefixed(annotations), defaults);
  assertEquals(warnings, []);
  return options;
}

function errorOf(annotations: Record<string, string>, defaults = BOTH): CniError {
  return assertThrows(
    () => parsePodAnnotations(prefixed(annotations), defaults),
    CniError,
  ) as CniError;
}

Deno.test("parsePodAnnotations() takes the defaults when there are no annotations", () => {
  const { options, warnings } = parsePodAnnotations(
    { "other.example/ipv6": "nonsense" },
    { ipv6: true, ipv4: false },
  );
  assertEquals(warnings, []);
  assertEquals(options, {
    ipv6: true,
    ipv4: false,
    cidr6: undefined,
    cidr4: undefined,
    ipAlgo: undefined,
    anycast: [],
    anycastWeight: 1,
    addresses: [],
    policyMode: "enforce",
  });
});

Deno.test("parsePodAnnotations() understands every key", () => {
  const options = optionsOf({
    ipv6: " true ",
    ipv4: "1",
    cidr6: "2001:db8:1::/64 , 2001:db8:2::/80,2001:db8:1::/64",
    cidr4: "172.25.0.0/16",
    "ip-algo": "app, namespace",
    anycast: " 2001:db8:ffff::53,198.51.100.53, 2001:0db8:ffff::53 ",
    "anycast-weight": "255",
    addresses: "2001:db8:ffff::80",
    "policy-mode": "audit",
  });
  assertEquals(options.cidr6?.map(formatPrefix), ["2001:db8:1::/64", "2001:db8:2::/80"]);
  assertEquals(options.cidr4?.map(formatPrefix), ["172.25.0.0/16"]);
  assertEquals(options.ipAlgo, ["app", "namespace"]);
  assertEquals(options.anycast.map(formatAddress), ["2001:db8:ffff::53", "198.51.100.53"]);
  assertEquals(options.anycastWeight, 255);
  assertEquals(options.addresses.map(formatAddress), ["2001:db8:ffff::80"]);
  assertEquals(options.policyMode, "audit");
});

Deno.test("parsePodAnnotations() takes the booleans that Go's ParseBool takes, and no others", () => {
  for (const text of ["1", "t", "T", "TRUE", "true", "True"]) {
    assertEquals(optionsOf({ ipv6: text }, { ipv6: false, ipv4: true }).ipv6, true, text);
  }
  for (const text of ["0", "f", "F", "FALSE", "false", "False"]) {
    assertEquals(optionsOf({ ipv4: text }).ipv4, false, text);
  }
  for (const text of ["", "yes", "tRUE", "on", "2", "constructor", "__proto__"]) {
    assertEquals(errorOf({ ipv6: text }).code, CniCode.annotationInvalid, text);
  }
});

Deno.test("parsePodAnnotations() names key and value when a value is malformed", () => {
  const table: readonly (readonly [string, string])[] = [
    ["ipv6", "maybe"],
    ["cidr6", "2001:db8::/129"],
    ["cidr6", "2001:db8::/121"],
    ["cidr6", "172.25.0.0/24"],
    ["cidr4", "2001:db8::/64"],
    ["cidr4", "172.25.0.0/31"],
    ["cidr4", "172.25.0.0"],
    ["anycast", "2001:db8::1,,2001:db8::2"],
    ["anycast", "2001:db8::1,"],
    ["anycast", "fe80::1%eth0"],
    ["anycast", "2001:db8::1/128"],
    ["addresses", "localhost"],
    ["addresses", "010.0.0.1"],
    ["anycast-weight", "0"],
    ["anycast-weight", "256"],
    ["anycast-weight", "-1"],
    ["anycast-weight", "1.5"],
    ["anycast-weight", "0x10"],
    ["anycast-weight", ""],
  ];
  for (const [key, value] of table) {
    const error = errorOf({ [key]: value });
    assertEquals(error.code, CniCode.annotationInvalid, `${key}: ${value}`);
    const start = `Cannot use annotation "${ANNOTATION_PREFIX}${key}" with value ${
      JSON.stringify(value)
    }: `;
    assert(error.message.startsWith(start), error.message);
  }
});

Deno.test("parsePodAnnotations() treats an empty list as none", () => {
  const options = optionsOf({ anycast: "", addresses: " ", cidr6: "", cidr4: "" });
  assertEquals([options.anycast, options.addresses], [[], []]);
  assertEquals([options.cidr6, options.cidr4], [undefined, undefined]);
});

Deno.test("parsePodAnnotations() only warns when ip-algo or policy-mode is malformed or a key is unknown", () => {
  const { options, warnings } = parsePodAnnotations(
    prefixed({ "ip-algo": "app;rm", "policy-mode": "Audit", anycasts: "x", "": "y" }),
    BOTH,
  );
  assertEquals(options.ipAlgo, undefined);
  assertEquals(options.policyMode, "enforce");
  assertEquals(warnings, [
    `Ignored annotation "${ANNOTATION_PREFIX}": it is not known`,
    `Ignored annotation "${ANNOTATION_PREFIX}anycasts": it is not known`,
    `Cannot use annotation "${ANNOTATION_PREFIX}ip-algo" with value "app;rm": ` +
    `Cannot parse ip-algo "app;rm": "app;rm" is not one of namespace, app, image`,
    `Cannot use annotation "${ANNOTATION_PREFIX}policy-mode" with value "Audit": it is neither enforce nor audit`,
  ]);
});

Deno.test("parsePodAnnotations() throws 103 when a family that is needed is off", () => {
  const table: readonly Record<string, string>[] = [
    { ipv6: "false", ipv4: "false" },
    { ipv4: "false", anycast: "2001:db8::1,198.51.100.1" },
    { ipv6: "false", addresses: "2001:db8::1" },
  ];
  for (const annotations of table) {
    assertEquals(errorOf(annotations).code, CniCode.familyDisabled);
  }
  assertEquals(errorOf({}, { ipv6: false, ipv4: false }).code, CniCode.familyDisabled);
  assertEquals(
    errorOf({ ipv4: "false", anycast: "198.51.100.1" }).message,
    `Cannot use address "198.51.100.1" of annotation "${ANNOTATION_PREFIX}anycast": IPv4 is switched off for the pod`,
  );
});

Deno.test("parsePodAnnotations() throws 102 when an address is not unicast", () => {
  for (const key of ["anycast", "addresses"]) {
    for (
      const text of [
        "127.0.0.1",
        "::1",
        "169.254.1.1",
        "fe80::1",
        "224.0.0.1",
        "ff02::1",
        "0.0.0.0",
        "::",
        "255.255.255.255",
        "0.1.2.3",
        "127.255.255.254",
        "240.0.0.1",
        "255.255.255.254",
      ]
    ) {
      const error = errorOf({ [key]: `2001:db8::1, ${text}` });
      assertEquals(error.code, CniCode.addressRefused, text);
      assert(error.message.startsWith(`Cannot use address "${text}"`), error.message);
    }
    // No address of its own, but another way to write one.
    assertEquals(errorOf({ [key]: "::ffff:203.0.113.7" }).code, CniCode.annotationInvalid);
  }
});

Deno.test("parsePodAnnotations() takes at most 16 addresses, each in one annotation", () => {
  const texts = (count: number, part: string): string =>
    Array.from({ length: count }, (_, i) => `2001:db8:${part}::${i + 1}`).join(",");
  assertEquals(optionsOf({ anycast: texts(8, "a"), addresses: texts(8, "b") }).anycast.length, 8);
  const refused: readonly Record<string, string>[] = [
    { anycast: texts(17, "a") },
    { addresses: texts(17, "a") },
    { anycast: texts(8, "a"), addresses: texts(9, "b") },
    { anycast: "2001:db8::1", addresses: "2001:db8::1" },
  ];
  for (const annotations of refused) {
    assertEquals(errorOf(annotations).code, CniCode.annotationInvalid);
  }
});

Deno.test("parsePodAnnotations() gives a short error for hostile values", () => {
  const hostile = [
    "}",
    ";",
    "a\nb",
    "\0",
    "x".repeat(1 << 20),
    ",".repeat(1 << 20),
    "2001:db8::1;".repeat(1 << 16),
    Array.from({ length: 40_000 }, (_, i) => `2001:db8::${i.toString(16)}`).join(","),
  ];
  const keys = ANNOTATION_KEYS.filter((key) => key !== "ip-algo" && key !== "policy-mode");
  for (const key of keys) {
    for (const value of hostile) {
      const { message, code } = errorOf({ [key]: value });
      assertEquals(code, CniCode.annotationInvalid);
      assert(message.length < 500 && !message.includes("\n") && !message.includes("\0"), message);
    }
  }
});

Deno.test("parsePodAnnotations() throws nothing but CniError, whatever the text", () => {
  const text = fc.oneof(
    fc.string(),
    fc.ipV6(),
    fc.ipV4(),
    fc.array(fc.oneof(fc.ipV4(), fc.ipV6(), fc.string({ maxLength: 3 }))).map((a) => a.join(",")),
    fc.constantFrom("true", "false", "audit", "app", "255"),
  );
  const annotations = fc.dictionary(fc.constantFrom(...ANNOTATION_KEYS), text);
  let accepted = 0;
  fc.assert(
    fc.property(annotations, (given) => {
      try {
        const { options } = parsePodAnnotations(prefixed(given), BOTH);
        accepted++;
        assert(options.ipv6 || options.ipv4);
        assert(options.anycast.length + options.addresses.length <= 16);
        for (const address of [...options.anycast, ...options.addresses]) {
          assert(options[address.family]);
        }
      } catch (error) {
        if (!(error instanceof CniError)) throw error;
        assert([101, 102, 103].includes(error.code));
      }
    }),
    { numRuns: 500 },
  );
  assert(accepted > 0);
});
