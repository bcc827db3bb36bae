/**
 * Certificates for tests, made when they are needed: an authority, and what it signs. X.509 version 3
 * with Ed25519 keys (RFC 5280, RFC 8410), written as DER by hand.
 *
 * @module
 */

/** A certificate and its key, as PEM. */
export interface Certificate {
  readonly cert: string;
  readonly key: string;
}

/** An authority. */
export interface Authority {
  /** Its certificate, as PEM. */
  readonly ca: string;
  /** A certificate for a server at these addresses, or for a client without any. */
  issue(name: string, addresses?: readonly string[]): Promise<Certificate>;
}

const SEQUENCE = 0x30;
const SET = 0x31;
const ED25519 = der(SEQUENCE, oid(1, 3, 101, 112));

/** Makes an authority of the given name. */
export async function createAuthority(name: string): Promise<Authority> {
  const keys = await generateKeys();
  async function sign(
    subject: string,
    publicKey: CryptoKey,
    extensions: readonly Uint8Array[],
  ): Promise<string> {
    const spki = new Uint8Array(await crypto.subtle.exportKey("spki", publicKey));
    const year = 365 * 24 * 3600_000;
    const body = der(
      SEQUENCE,
      der(0xa0, integer([2])), // version 3
      integer([0x40, ...crypto.getRandomValues(new Uint8Array(15))]),
      ED25519,
      distinguishedName(name),
      der(SEQUENCE, time(Date.now() - year), time(Date.now() + year)),
      distinguishedName(subject),
      spki,
      der(0xa3, der(SEQUENCE, ...extensions)),
    );
    const signature = new Uint8Array(
      await crypto.subtle.sign("Ed25519", keys.privateKey, new Uint8Array(body)),
    );
    return pem("CERTIFICATE", der(SEQUENCE, body, ED25519, bitString(signature)));
  }
  return {
    ca: await sign(name, keys.publicKey, [
      extension([2, 5, 29, 19], der(SEQUENCE, der(0x01, Uint8Array.of(0xff)))), // basicConstraints: CA
    ]),
    async issue(subject, addresses = []) {
      const own = await generateKeys();
      const names = addresses.map((address) => {
        const bytes = ipv4(address);
        return bytes ? der(0x87, bytes) : der(0x82, new TextEncoder().encode(address));
      });
      const cert = await sign(subject, own.publicKey, [
        extension([2, 5, 29, 19], der(SEQUENCE)),
        ...(names.length > 0 ? [extension([2, 5, 29, 17], der(SEQUENCE, ...names))] : []),
      ]);
      const key = new Uint8Array(await crypto.subtle.exportKey("pkcs8", own.privateKey));
      return { cert, key: pem("PRIVATE KEY", key) };
    },
  };
}

async function generateKeys(): Promise<CryptoKeyPair> {
  return await crypto.subtle.generateKey("Ed25519", true, ["sign", "verify"]) as CryptoKeyPair;
}

function der(tag: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  const size = length < 0x80
    ? [length]
    : length < 0x100
    ? [0x81, length]
    : [0x82, length >> 8, length & 0xff];
  const out = new Uint8Array(1 + size.length + length);
  out.set([tag, ...size]);
  let at = 1 + size.length;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

function integer(bytes: readonly number[]): Uint8Array {
  return der(0x02, Uint8Array.from(bytes));
}

function bitString(bytes: Uint8Array): Uint8Array {
  return der(0x03, Uint8Array.of(0), bytes);
}

/** Two arcs, then numbers that need at most two bytes. */
function oid(first: number, second: number, ...rest: readonly number[]): Uint8Array {
  const bytes = rest.flatMap((n) => n < 0x80 ? [n] : [0x80 | n >> 7, n & 0x7f]);
  return der(0x06, Uint8Array.from([first * 40 + second, ...bytes]));
}

function extension([first = 0, second = 0, ...rest]: number[], value: Uint8Array): Uint8Array {
  return der(SEQUENCE, oid(first, second, ...rest), der(0x04, value));
}

function distinguishedName(name: string): Uint8Array {
  const commonName = der(SEQUENCE, oid(2, 5, 4, 3), der(0x0c, new TextEncoder().encode(name)));
  return der(SEQUENCE, der(SET, commonName));
}

/** UTCTime: years in two digits, as RFC 5280 has it until 2049. */
function time(ms: number): Uint8Array {
  const text = new Date(ms).toISOString().slice(2).replace(/[-:T]|\.\d+/g, "");
  return der(0x17, new TextEncoder().encode(text));
}

function ipv4(address: string): Uint8Array | undefined {
  return /^[\d.]+$/.test(address) ? Uint8Array.from(address.split(".").map(Number)) : undefined;
}

function pem(label: string, bytes: Uint8Array): string {
  const text = bytes.toBase64().replace(/.{64}/g, "$&\n").trimEnd();
  return `-----BEGIN ${label}-----\n${text}\n-----END ${label}-----\n`;
}
