/**
 * What `flows.ts` and the programs that it runs inside network namespaces say to each other.
 *
 * @module
 */

/** Port of the servers, TCP and UDP. */
export const FLOW_PORT = 80;

/** What a client saw of a connection, or of a datagram. */
export interface Flow {
  /** The address that was asked. */
  readonly address: string;
  /** Name of the server that answered first. */
  readonly server?: string;
  /** The client's address, as that server saw it. */
  readonly source?: string;
  /** Why it is over, when the client did not end it. */
  readonly broken?: string;
}

/** A connection that goes on. */
export interface HeldFlow extends Flow {
  readonly id: number;
}

/** What a client is asked to do. */
export type FlowRequest =
  /** Opens connections that go on. Answer: these, after their first exchange. */
  | { readonly op: "hold"; readonly address: string; readonly count: number }
  /** Answer: all that are held, after an exchange of each that began after the request. */
  | { readonly op: "look" }
  /** Ends connections that are held. */
  | { readonly op: "release"; readonly ids: readonly number[] }
  /** Connections with one exchange, all at once. */
  | {
    readonly op: "fetch";
    readonly address: string;
    readonly count: number;
    /** Bytes that each server is to send besides its name. */
    readonly bytes: number;
    /** Milliseconds that each may take. */
    readonly timeoutMs: number;
  }
  /** Datagrams, one after the other. */
  | { readonly op: "datagrams"; readonly address: string; readonly count: number };
