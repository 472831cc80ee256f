// Adding pictures to a text of the form: by a file dialog, by dropping, by pasting.

import { type ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { ACCEPTED, dataUrl, Picture } from "../pictures";
import { bytes } from "../text";

export interface Attached {
  name: string;
  /** A data URL. */
  url: string;
}

/** Larger files are not read: no server takes them as it is set up by default. */
const LARGEST = 50_000_000;

/** Reads files; those that are no pictures are named with the reason. */
async function read(files: File[]): Promise<{ added: Attached[]; refused: string[] }> {
  const added: Attached[] = [];
  const refused: string[] = [];
  for (const file of files) {
    const name = file.name || "pasted picture";
    if (file.size > LARGEST) {
      refused.push(`${name} has ${bytes(file.size)}, more than ${bytes(LARGEST)}, so it was not added.`);
      continue;
    }
    const url = dataUrl(await base64(file).catch(() => ""));
    if (url) added.push({ name, url });
    else refused.push(`${name} is no PNG, JPEG, GIF or WebP file, so it was not added.`);
  }
  return { added, refused };
}

function base64(file: File): Promise<string> {
  return new Promise((done, failed) => {
    const reader = new FileReader();
    reader.onload = () => done(String(reader.result).replace(/^[^,]*,/, ""));
    reader.onerror = () => failed(reader.error);
    reader.readAsDataURL(file);
  });
}

interface AttachProps {
  /** What the pictures belong to, as the form calls it. */
  of: string;
  pictures: Attached[];
  set: (change: (pictures: Attached[]) => Attached[]) => void;
  children: ComponentChildren;
}

/** A text field with the pictures that are sent before its text. */
export function Attach({ of, pictures, set, children }: AttachProps) {
  const [said, say] = useState("");
  const [refused, setRefused] = useState<string[]>([]);
  const [over, setOver] = useState(false);
  const add = async (files: File[]) => {
    const { added, refused } = await read(files);
    set(pictures => [...pictures, ...added]);
    setRefused(refused);
    say(added.length === 0 ? "" : `Added: ${added.map(picture => picture.name).join(", ")}.`);
  };
  const remove = (at: number) => {
    set(pictures => pictures.filter((_, other) => other !== at));
    say(`Removed: ${pictures[at]?.name}.`);
  };
  const hasFiles = (data: DataTransfer | null) => data?.types.includes("Files") ?? false;
  return (
    <div
      class={over ? "attach over" : "attach"}
      onDragOver={e => {
        if (!hasFiles(e.dataTransfer)) return;
        e.preventDefault();
        setOver(true);
      }}
      onDragLeave={() => setOver(false)}
      onDrop={e => {
        setOver(false);
        if (!hasFiles(e.dataTransfer)) return;
        e.preventDefault();
        void add([...(e.dataTransfer?.files ?? [])]);
      }}
      onPaste={e => {
        // Programs that copy a text with a picture of it mean the text.
        if (!hasFiles(e.clipboardData) || e.clipboardData?.types.includes("text/plain")) return;
        e.preventDefault();
        void add([...(e.clipboardData?.files ?? [])]);
      }}
    >
      {children}
      <details open={pictures.length > 0 || refused.length > 0}>
        <summary>Pictures of the {of}{pictures.length > 0 && `: ${pictures.length}`}</summary>
        <label class="hint">
          Choose files, drop them here, or paste them into the text: PNG, JPEG, GIF, WebP.{" "}
          <input
            type="file"
            multiple
            accept={ACCEPTED}
            aria-label={`Add pictures to the ${of}`}
            onChange={e => {
              const files = [...(e.currentTarget.files ?? [])];
              // The same file can be chosen again after it was removed.
              e.currentTarget.value = "";
              void add(files);
            }}
          />
        </label>
        {refused.map(reason => <p key={reason} class="wrong" role="alert">{reason}</p>)}
        <ul class="plain pictures">
          {pictures.map((picture, at) => (
            <li key={at}>
              <Picture url={picture.url} name={`Picture ${at + 1} of the ${of}: ${picture.name}`} />
              <button type="button" aria-label={`Remove picture ${at + 1} of the ${of}`} onClick={() => remove(at)}>Remove</button>
            </li>
          ))}
        </ul>
      </details>
      <span role="status" class="sr">{said}</span>
    </div>
  );
}
