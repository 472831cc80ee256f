import { useEffect, useRef, useState } from "preact/hooks";
import { askForKey, askWith, storedKey, storeKey } from "./api";
import { Field } from "./parts";

/** Asks for an API key, which is kept for this tab only. */
export function KeyDialog({ changed }: { changed: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const answer = useRef<(stored: boolean) => void>(() => undefined);
  const [reason, setReason] = useState("");
  const [value, setValue] = useState("");
  const [wrong, setWrong] = useState("");
  useEffect(() => {
    askWith(reason => {
      setReason(reason);
      setWrong("");
      setValue("");
      dialog.current?.showModal();
      return new Promise(resolve => (answer.current = resolve));
    });
  }, []);
  const close = (stored: boolean) => {
    answer.current(stored);
    dialog.current?.close();
    if (stored) changed();
  };
  const submit = (event: Event) => {
    event.preventDefault();
    const key = value.trim();
    // Headers can have nothing else.
    if (!/^[\x21-\x7e]+$/.test(key)) return setWrong("A key has letters, digits and signs, without spaces.");
    storeKey(key);
    close(true);
  };
  return (
    <dialog ref={dialog} aria-labelledby="key-title" onCancel={() => close(false)}>
      <form onSubmit={submit}>
        <h2 id="key-title">An API key is needed</h2>
        <p class="text">{reason}</p>
        <Field label="API key">
          <input type="password" autocomplete="off" value={value} onInput={e => setValue(e.currentTarget.value)} />
        </Field>
        {wrong && <p role="alert" class="wrong">{wrong}</p>}
        <p class="hint">
          The administrator makes keys with <code>gavel keys create</code>. This tab keeps it until it is closed; it goes
          nowhere but to this server.
        </p>
        <p class="row">
          <button type="submit" class="primary">Use this key</button>
          <button type="button" onClick={() => close(false)}>Cancel</button>
        </p>
      </form>
    </dialog>
  );
}

/** Whether a key is in use, and the way to another. */
export function KeyButton({ changed }: { changed: () => void }) {
  const forget = () => {
    storeKey(null);
    changed();
  };
  if (storedKey() !== null) return <button type="button" onClick={forget}>Forget the key</button>;
  const enter = () => askForKey("Requests from this tab will be sent with it.");
  return <button type="button" onClick={() => void enter()}>Enter a key</button>;
}
