/**
 * Many streams over one WebSocket. Each stream behaves like a WebSocket.
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

/** The types that `Stream.send()` accepts, the same as for a WebSocket. */
export type Data = string | ArrayBuffer | ArrayBufferView | Blob;

/** The members that a WebSocket class needs: the browser's, that of ws or partysocket. */
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
   * The class of the sockets. Default: the global one. It may reconnect on its own: the client uses
   * each socket only until its first close, and then creates a new one.
   */
  WebSocket?: new (url: string, protocols?: any) => WebSocketLike;
  /** Subprotocols, like the second argument of `new WebSocket()`. */
  protocols?: string | string[];
  /**
   * Returns query parameters for the URL, such as a token. It is called at each attempt to connect.
   * If it throws or rejects, the attempt has failed and another one follows.
   */
  query?: () => QueryParameters | Promise<QueryParameters>;
  /**
   * The back-off in ms. The n-th attempt in a row waits for a random time of up to
   * `min(maxDelay, baseDelay * 2 ** (n - 1))`. Default: 1000.
   */
  baseDelay?: number;
  /** The longest wait between two attempts, in ms. Default: 30000. */
  maxDelay?: number;
  /** Bytes to buffer while disconnected, over all streams. Default: 1 MiB. */
  maxBuffered?: number;
  /** Key of the stream's name, the server's `MULTIPLEX_KEY`. Default: `"stream"`. */
  streamKey?: string;
  /** Key of the payload, the server's `PAYLOAD_KEY`. Default: `"payload"`. */
  payloadKey?: string;
  /** Key of an event, the server's `EVENT_KEY`. Default: `"event"`. */
  eventKey?: string;
}

/** The argument of `new URLSearchParams()`. */
export type QueryParameters =
  | Record<string, string>
  | URLSearchParams
  | string[][]
  | string
  | undefined
  | void;

/** Options of a stream. They must have the same values as in the server's `Stream`. */
export interface StreamOptions {
  /** The stream opens on demand, not with the connection: `Stream(..., lazy=True)`. */
  lazy?: boolean;
  /** Payloads are bare strings, in both directions: `Stream(..., text=True)`. */
  text?: boolean;
  /**
   * The consumer keeps state of the client: `Stream(..., stateful=True)`. When the socket is lost,
   * the stream ends like a WebSocket, and does not continue with a consumer without that state.
   */
  stateful?: boolean;
  /** The value of `protocol`, for code that reads it: `Stream(..., subprotocol=...)`. */
  subprotocol?: string;
}

/** The server refused a frame. Nothing else changed. */
export interface DemultiplexerErrorEvent extends Event {
  /** A code in docs/reference/events-and-codes.md; undefined for an error in the page itself. */
  readonly code?: string;
  /** A text for the developer. */
  readonly message: string;
  /** The stream's name, if the server could read it. */
  readonly stream?: string;
  /** The exception of `url`, `query` or the WebSocket class. */
  readonly error?: unknown;
}

/** The socket was lost, or an attempt failed. Another attempt follows. */
export interface ReconnectingEvent extends Event {
  /** The close code of the lost socket. */
  readonly code: number;
  readonly reason: string;
  /** The wait until the next attempt, in ms. */
  readonly delay: number;
  /** The number of the attempt, counted from 1 since the last stable socket. */
  readonly attempt: number;
}

/** The events of a `Stream`. */
export interface StreamEventMap {
  /** The stream is ready, as for a WebSocket. */
  open: Event;
  /** `data` is what the consumer sent: text byte for byte, or bytes in the form of `binaryType`. */
  message: MessageEvent<any>;
  /** The server refused a frame of this stream. The stream continues. */
  error: DemultiplexerErrorEvent;
  /** The stream ended, with the consumer's code. No other event follows. */
  close: CloseEvent;
  /** The stream continues with a new consumer, which has none of the old one's state. */
  reopened: Event;
  /** No worker hosts the stream at present. The server keeps trying. */
  unavailable: Event;
}

/** The events of a `Demultiplexer`. */
export interface DemultiplexerEventMap {
  /** A socket opened, the first or a later one. */
  open: Event;
  /** A socket was lost, or an attempt failed. Another attempt follows. */
  reconnecting: ReconnectingEvent;
  /** The socket closed, and so did all streams. No attempt follows. */
  close: CloseEvent;
  /** The server refused a frame of no live stream, or a callback threw. */
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
 * One stream. It behaves like a WebSocket, except that it survives a lost socket:
 *
 * - You can call `send()` before the stream is open, and while the client is disconnected.
 * - While the client is disconnected, the stream stays OPEN. Then it gets `reopened`.
 */
export interface Stream extends EventTarget, ReadyStates {
  /** The stream's name. */
  readonly name: string;
  readonly readyState: 0 | 1 | 2 | 3;
  /** The type of binary `data`: `"blob"` or `"arraybuffer"`. Default: `"blob"`. */
  binaryType: BinaryType;
  /** Bytes of this stream that wait for a socket, plus those of all streams in the socket. */
  readonly bufferedAmount: number;
  /** The socket's URL; empty before the first attempt. */
  readonly url: string;
  /** The option `subprotocol`, or by default that of the socket. */
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
   * string. With `{ text: true }`, all text is sent bare. After `close()`, the call does nothing.
   *
   * @throws QuotaExceededError More than `maxBuffered` bytes would wait for the socket. This
   *     payload is not sent; those that wait are kept.
   */
  send(data: Data): void;
  /**
   * End the stream. Other streams continue. The consumer gets everything that was sent before, and
   * then the code 1000. The arguments are ignored; WebSockets have them. While the client is
   * disconnected, the call discards the buffered payloads.
   */
  close(code?: number, reason?: string): void;
  /** Yields the `data` of each message from now on, until the stream ends. */
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

/** The class of streams, for `instanceof` and constants. `stream()` creates them. */
export declare const Stream: ReadyStates & { readonly prototype: Stream };

/** One WebSocket with many streams. It connects with the first stream, and reconnects when lost. */
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
   * @param url The WebSocket's URL, which may be relative to the page's (`"/ws/"`), or a function
   *     that returns it at each attempt to connect. `http` becomes `ws`, `https` becomes `wss`.
   * @throws TypeError The URL is invalid.
   */
  constructor(
    url: string | URL | (() => string | URL | Promise<string | URL>),
    options?: DemultiplexerOptions,
  );
  /** The socket's URL, including query parameters; empty before the first attempt. */
  readonly url: string;
  /** Also CONNECTING while it waits for the next attempt, and CLOSED while it has no stream. */
  readonly readyState: 0 | 1 | 2 | 3;
  onopen: Handler<Demultiplexer, Event>;
  onerror: Handler<Demultiplexer, DemultiplexerErrorEvent>;
  onclose: Handler<Demultiplexer, CloseEvent>;
  onreconnecting: Handler<Demultiplexer, ReconnectingEvent>;
  /**
   * Return the stream of this name: the same object while it lives, then a new one, which opens
   * again. The options only apply to a new object.
   *
   * @throws RangeError The name does not have 1 to 255 bytes of UTF-8.
   * @throws InvalidStateError `close()` was called before.
   */
  stream(name: string, options?: StreamOptions): Stream;
  /** Close the socket permanently, and all streams with it. Their consumers get this code. */
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
