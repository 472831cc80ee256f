// Pictures of requests. Only those that are in a request as data are shown; an address is never loaded.

import { useState } from "preact/hooks";

/** The formats that a judge is shown, by how their files begin in base64. The type that the sender gives does not count. */
const FORMATS = [
  ["iVBORw0KGgo", "image/png"],
  ["/9j/", "image/jpeg"],
  ["R0lGOD", "image/gif"],
  ["UklGR", "image/webp"],
] as const;

export const ACCEPTED = FORMATS.map(([, type]) => type).join(",");

/** A file in base64 as a data URL of its own format; null if it is no picture that a judge is shown. */
export function dataUrl(base64: string): string | null {
  const data = base64.replace(/\s+/g, "").replaceAll("-", "+").replaceAll("_", "/");
  const format = FORMATS.find(([start]) => data.startsWith(start));
  return format && /^[A-Za-z0-9+/]+={0,2}$/.test(data) ? `data:${format[1]};base64,${data}` : null;
}

/** The picture in a data URL, as a data URL of its own format; null for everything else. */
export function safe(url: unknown): string | null {
  const data = typeof url === "string" ? /^\s*data:[^,]*;base64,/i.exec(url) : null;
  return data && typeof url === "string" ? dataUrl(url.slice(data[0].length)) : null;
}

/** A piece of a text of a request: text, a picture, or what is neither. */
export type Piece = { text: string } | { picture: string } | { unknown: string };

/** The pieces of a text, or of a list of parts, in their order. */
export function pieces(content: unknown): Piece[] {
  if (typeof content === "string") return content ? [{ text: content }] : [];
  if (content === null || content === undefined) return [];
  if (!Array.isArray(content)) return [{ text: JSON.stringify(content, null, 2) }];
  return joined(content.map(piece));
}

/** With texts that follow each other as one, as prompts have them. */
function joined(pieces: Piece[]): Piece[] {
  const result: Piece[] = [];
  for (const piece of pieces) {
    const last = result.at(-1);
    if (last && "text" in last && "text" in piece) result[result.length - 1] = { text: `${last.text}\n${piece.text}` };
    else result.push(piece);
  }
  return result;
}

function piece(part: any): Piece {
  if (typeof part?.text === "string") return { text: part.text };
  const kind = String(part?.type);
  if (kind === "image_url" || kind === "input_image") {
    const url = part.image_url?.url ?? part.image_url;
    const picture = safe(url);
    if (picture) return { picture };
    return { unknown: typeof url === "string" && /^https?:/i.test(url) ? `A picture at ${url.slice(0, 200)}, which this page does not load` : "A picture that this page cannot show" };
  }
  if (kind === "image") {
    const picture = part.source?.type === "base64" && typeof part.source.data === "string" ? dataUrl(part.source.data) : safe(part.source?.url);
    return picture ? { picture } : { unknown: "A picture that this page cannot show" };
  }
  return { unknown: `A part of the kind “${kind}”, which this page does not show` };
}

/** Texts and pictures in their order. What cannot be shown is named, so that nobody judges without knowing of it. */
export function Content({ of, name }: { of: Piece[]; name: string }) {
  let seen = 0;
  return (
    <>
      {of.map((piece, at) => {
        if ("text" in piece) return piece.text;
        if ("picture" in piece) return <Picture key={at} url={piece.picture} name={`Picture ${++seen} of: ${name}`} />;
        return <p key={at} class="wrong">[{piece.unknown}.]</p>;
      })}
    </>
  );
}

/** A picture with its name and its size, once the browser knows it. */
export function Picture({ url, name }: { url: string; name: string }) {
  const [size, setSize] = useState("");
  const [broken, setBroken] = useState(false);
  return (
    <figure class="picture">
      {!broken && (
        <img
          src={url}
          alt={name}
          onLoad={e => setSize(`${e.currentTarget.naturalWidth} × ${e.currentTarget.naturalHeight}`)}
          onError={() => setBroken(true)}
        />
      )}
      <figcaption>{name}{size && `, ${size} pixels`}{broken && <span class="wrong">: the browser cannot show it</span>}</figcaption>
    </figure>
  );
}
