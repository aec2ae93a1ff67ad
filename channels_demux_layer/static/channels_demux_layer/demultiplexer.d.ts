/**
 * Many streams over one WebSocket, each of which behaves as a WebSocket does.
 *
 * ```js
 * import { Demultiplexer } from "channels_demux_layer";
 *
 * const demux = new Demultiplexer("/ws/");
 * const chat = demux.stream("chat");
 * chat.onmessage = ({ data }) => console.log(JSON.parse(data));
 * chat.onopen = () => chat.send(JSON.stringify({ message: "hello" }));
 * ```
 */

/** What `Stream.send()` takes, which is what a WebSocket's does. */
export type Data = string | ArrayBuffer | ArrayBufferView | Blob;

/** What a WebSocket class has to offer: the browser's, ws's, partysocket's. */
export interface WebSocketLike {
  readonly readyState: number;
  readonly bufferedAmount?: number;
  readonly protocol?: string;
  readonly extensions?: string;
  binaryType: any;
  onopen: any;
  onmessage: any;
  onerror: any;
  onclose: any;
  send(data: any): void;
  close(code?: number, reason?: string): void;
}

/** Options of a `Demultiplexer`. */
export interface DemultiplexerOptions {
  /**
   * The class that sockets are made with. One that reconnects by itself is fine: each of its
   * sockets is used until it closes first, and the next one is a new one. Default: the global one.
   */
  WebSocket?: new (url: string, protocols?: any) => WebSocketLike;
  /** Subprotocols, as the second argument of a WebSocket. */
  protocols?: string | string[];
  /**
   * Gives query parameters that are set in the URL, anew each time that it connects: a token, say.
   * Where it throws or rejects, the attempt has failed and another one follows.
   */
  query?: () => QueryParameters | Promise<QueryParameters>;
  /**
   * The back-off in ms: the n-th attempt in a row waits a random time of up to
   * `min(maxDelay, baseDelay * 2 ** (n - 1))`. Default: 1000.
   */
  baseDelay?: number;
  /** The longest wait between two attempts, in ms. Default: 30000. */
  maxDelay?: number;
  /** How much may wait while the socket is away, in bytes over all streams. Default: 1 MiB. */
  maxBuffered?: number;
  /** Key of the stream's name, the server's `MULTIPLEX_KEY`. Default: `"stream"`. */
  streamKey?: string;
  /** Key of the payload, the server's `PAYLOAD_KEY`. Default: `"payload"`. */
  payloadKey?: string;
  /** Key of an event, the server's `EVENT_KEY`. Default: `"event"`. */
  eventKey?: string;
}

/** What a `URLSearchParams` is made from. */
export type QueryParameters =
  | Record<string, string>
  | URLSearchParams
  | string[][]
  | string
  | undefined
  | void;

/** Options of a stream; those of the server's `Stream`, and to be the same as there. */
export interface StreamOptions {
  /** Opened when asked for, not with the connection: `Stream(..., lazy=True)`. */
  lazy?: boolean;
  /** Payloads are bare strings, both ways: `Stream(..., text=True)`. */
  text?: boolean;
  /**
   * Its consumer keeps what it was told: `Stream(..., stateful=True)`. It ends with a lost socket,
   * as a WebSocket does, and does not go on with a consumer that knows nothing.
   */
  stateful?: boolean;
  /** What `protocol` says, for code that looks: `Stream(..., subprotocol=...)`. */
  subprotocol?: string;
}

/** The server has refused something; nothing else has happened. */
export interface DemultiplexerErrorEvent extends Event {
  /** One of the codes in docs/reference/events-and-codes.md; undefined for an error in the page itself. */
  readonly code?: string;
  /** For the developer. */
  readonly message: string;
  /** The stream's name, where the server could read it. */
  readonly stream?: string;
  /** What `url`, `query` or the WebSocket class has thrown. */
  readonly error?: unknown;
}

/** The socket was lost, or an attempt has failed, and another one will follow. */
export interface ReconnectingEvent extends Event {
  /** The close code of the socket that was lost. */
  readonly code: number;
  readonly reason: string;
  /** The wait until the next attempt, in ms. */
  readonly delay: number;
  /** Its number: 1, and one more for each that follows without a stable socket in between. */
  readonly attempt: number;
}

/** The events of a `Stream`. */
export interface StreamEventMap {
  /** It can be used: as a WebSocket's. */
  open: Event;
  /** `data` is what the consumer sent: text byte for byte, or bytes as `binaryType` says. */
  message: MessageEvent<any>;
  /** The server has refused something that was sent. The stream goes on. */
  error: DemultiplexerErrorEvent;
  /** It has ended, with the consumer's code. No other event follows. */
  close: CloseEvent;
  /** It goes on with a new consumer, which has none of the state of the one before. */
  reopened: Event;
  /** No worker takes it at present. The server goes on trying. */
  unavailable: Event;
}

/** The events of a `Demultiplexer`. */
export interface DemultiplexerEventMap {
  /** A socket has opened: the first one, or another one. */
  open: Event;
  /** A socket was lost, or an attempt has failed; another attempt follows. */
  reconnecting: ReconnectingEvent;
  /** The socket has closed, and with it all streams; no attempt follows. */
  close: CloseEvent;
  /** The server has refused something, about no stream that is live; or a callback has thrown. */
  error: DemultiplexerErrorEvent;
}

type Handler<Target, E> = ((this: Target, event: E) => any) | null;

interface ReadyStates {
  readonly CONNECTING: 0;
  readonly OPEN: 1;
  readonly CLOSING: 2;
  readonly CLOSED: 3;
}

/**
 * One stream. It behaves as a WebSocket does, but for what follows from its coming back:
 *
 * - `send()` may be called before it is open, and while the socket is away.
 * - While the socket is away it stays OPEN, and then gets `reopened`.
 */
export interface Stream extends EventTarget, ReadyStates {
  /** Its name. */
  readonly name: string;
  readonly readyState: 0 | 1 | 2 | 3;
  /** `"blob"` or `"arraybuffer"`: what binary `data` is. Default: `"blob"`. */
  binaryType: BinaryType;
  /** Bytes of this stream that wait for a socket, and of all streams that wait in the socket. */
  readonly bufferedAmount: number;
  /** The socket's URL; empty before the first attempt. */
  readonly url: string;
  /** The option `subprotocol`, without it the socket's own. */
  readonly protocol: string;
  readonly extensions: string;
  onopen: Handler<Stream, Event>;
  onmessage: Handler<Stream, MessageEvent<any>>;
  onerror: Handler<Stream, DemultiplexerErrorEvent>;
  onclose: Handler<Stream, CloseEvent>;
  onreopened: Handler<Stream, Event>;
  onunavailable: Handler<Stream, Event>;
  /**
   * Send one payload. Text that is JSON reaches the consumer byte for byte, other text as a JSON
   * string; with `{ text: true }` all text is sent bare. After `close()` it does nothing.
   *
   * @throws QuotaExceededError More than `maxBuffered` bytes would wait for the socket. Nothing
   *     was dropped, and this payload was not taken.
   */
  send(data: Data): void;
  /**
   * End it, the other streams go on. The consumer gets what was sent before, and 1000: the
   * arguments of a WebSocket's `close()` are taken and not passed on. What waits for a socket that
   * is away is dropped.
   */
  close(code?: number, reason?: string): void;
  /** Gives the `data` of each message from now on, until it ends. */
  [Symbol.asyncIterator](): AsyncGenerator<any, void, undefined>;
  addEventListener<K extends keyof StreamEventMap>(
    type: K,
    listener: (this: Stream, event: StreamEventMap[K]) => any,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: boolean | AddEventListenerOptions,
  ): void;
}

/** The class of streams, for `instanceof` and its constants; `Demultiplexer.stream()` makes them. */
export declare const Stream: ReadyStates & { readonly prototype: Stream };

/** One WebSocket with many streams. It connects as soon as there is one, and comes back. */
export declare class Demultiplexer extends EventTarget {
  static readonly CONNECTING: 0;
  static readonly OPEN: 1;
  static readonly CLOSING: 2;
  static readonly CLOSED: 3;
  readonly CONNECTING: 0;
  readonly OPEN: 1;
  readonly CLOSING: 2;
  readonly CLOSED: 3;
  /**
   * @param url The WebSocket's address, relative to the page's (`"/ws/"`) or not, or a function
   *     that gives it anew each time that it connects. `http` becomes `ws`, `https` becomes `wss`.
   * @throws TypeError It is no URL.
   */
  constructor(
    url: string | URL | (() => string | URL | Promise<string | URL>),
    options?: DemultiplexerOptions,
  );
  /** The socket's URL, the query parameters included; empty before the first attempt. */
  readonly url: string;
  /** CONNECTING also while it waits for the next attempt; CLOSED also while there is no stream. */
  readonly readyState: 0 | 1 | 2 | 3;
  onopen: Handler<Demultiplexer, Event>;
  onerror: Handler<Demultiplexer, DemultiplexerErrorEvent>;
  onclose: Handler<Demultiplexer, CloseEvent>;
  onreconnecting: Handler<Demultiplexer, ReconnectingEvent>;
  /**
   * Give the stream of this name: the same one while it lives, then a new one, which is opened
   * again. Options count when it is made.
   *
   * @throws RangeError The name has not 1 to 255 bytes of UTF-8.
   * @throws InvalidStateError `close()` was called before.
   */
  stream(name: string, options?: StreamOptions): Stream;
  /** Close the socket for good, and with it all streams, whose consumers get this code. */
  close(code?: number, reason?: string): void;
  addEventListener<K extends keyof DemultiplexerEventMap>(
    type: K,
    listener: (this: Demultiplexer, event: DemultiplexerEventMap[K]) => any,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: boolean | AddEventListenerOptions,
  ): void;
}
