// Requests to the server that the page came from: errors as problems, and the key.

const STORED = "gavel.key";

/** An error that the server has told, or that kept it from telling anything. */
export class Problem extends Error {
  constructor(
    /** The HTTP status; 0 if there was no answer. */
    readonly status: number,
    readonly title: string,
    readonly detail: string,
    readonly code = "",
    readonly pointer = "",
    readonly requestId = "",
  ) {
    super(detail || title);
  }

  static async of(response: Response): Promise<Problem> {
    const text = await response.text().catch(() => "");
    try {
      return Problem.read(response.status, JSON.parse(text));
    } catch {
      const detail = text ? text.slice(0, 300) : "it gave no reason";
      return new Problem(response.status, `The server answered ${response.status}`, detail);
    }
  }

  /** Reads the error of one of Gavel's own routes, or of a route in OpenAI's protocol. */
  static read(status: number, body: any): Problem {
    const error = body.error ?? body;
    const text = (value: unknown) => (typeof value === "string" ? value : "");
    const id = text(error.request_id);
    return new Problem(status, text(error.title), text(error.detail ?? error.message), text(error.code), text(error.pointer ?? error.param), id);
  }

  static from(error: unknown): Problem {
    if (error instanceof Problem) return error;
    const detail = error instanceof Error ? error.message : String(error);
    return new Problem(0, "The server cannot be reached", detail);
  }
}

export function storedKey(): string | null {
  return sessionStorage.getItem(STORED);
}

export function storeKey(key: string | null): void {
  if (key === null) sessionStorage.removeItem(STORED);
  else sessionStorage.setItem(STORED, key);
}

/** Asks the user for a key and stores it; false if there is none. The dialog replaces this. */
type Ask = (reason: string) => Promise<boolean>;
let ask: Ask = async () => false;
let asking: Promise<boolean> | null = null;

export function askWith(dialog: Ask): void {
  ask = dialog;
}

/** Requests that need a key at the same time ask for it once. */
export function askForKey(reason: string): Promise<boolean> {
  asking ??= ask(reason).finally(() => (asking = null));
  return asking;
}

/** Sends a request; a key is asked for where the server wants one. Throws a `Problem`, or what `signal` says. */
export async function send(path: string, init: RequestInit = {}): Promise<Response> {
  for (;;) {
    const headers = new Headers(init.headers);
    const key = storedKey();
    if (key !== null) headers.set("Authorization", `Bearer ${key}`);
    let response: Response;
    try {
      response = await fetch(path, { ...init, headers });
    } catch (error) {
      if (init.signal?.aborted) throw error;
      throw Problem.from(error);
    }
    if (response.ok) return response;
    const problem = await Problem.of(response);
    if (response.status !== 401) throw problem;
    // Another request may have asked meanwhile.
    if (storedKey() === key && !(await askForKey(problem.detail))) throw problem;
  }
}

export async function getJson<T>(path: string, signal?: AbortSignal): Promise<T> {
  return (await send(path, { signal })).json();
}

export function json(method: string, body: unknown): RequestInit {
  return { method, headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
}

/** A key for requests that may be sent again; `crypto.randomUUID` is only on pages with TLS. */
export function randomKey(): string {
  return [...crypto.getRandomValues(new Uint8Array(16))].map(byte => byte.toString(16).padStart(2, "0")).join("");
}
