// The last requests that were refused or failed.

import { count } from "../text";
import type { RecentErrors } from "../types";

/** Rows that are shown at first. */
const SHOWN = 20;

export function Errors({ errors }: { errors: RecentErrors }) {
  const { data } = errors;
  return (
    <section aria-labelledby="errors">
      <h2 id="errors">Recent errors</h2>
      {data.length === 0 ? (
        <p class="hint">None since the start of this process.</p>
      ) : (
        <>
          <div class="scroll" tabIndex={0} role="region" aria-label="Table of recent errors">
            <table>
              <thead><tr><th>When</th><th>Status</th><th>Code</th><th>Route</th><th>Key</th><th>Request id</th></tr></thead>
              <tbody>
                {data.slice(0, SHOWN).map(error => (
                  <tr key={error.request_id + error.at}>
                    <td>{new Date(error.at).toLocaleTimeString()}</td>
                    <td>{error.status}</td>
                    <th scope="row"><a href="/docs/errors">{error.code}</a></th>
                    <td><code>{error.method} {error.route}</code></td>
                    <td>{error.key ?? "–"}</td>
                    <td><code>{error.request_id}</code></td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
          <p class="faint">
            {data.length > SHOWN && `The last ${SHOWN} of ${count(data.length)}. `}
            The server's log has the details, by request id. With the scope admin, a key sees those of all keys.
          </p>
        </>
      )}
    </section>
  );
}
