"""Batches, and the proof that each line of one has exactly one answer: its own."""

import json

from server import ABSOLUTE, grading, must, until

# Lines of two kinds, which the engine gives different scores, so that an answer shows whose it is.
ANSWERS = """
[[answer]]
when = "An even answer"
masses = [0.0, 0.0, 0.0, 0.9, 0.0]
delay_ms = {delay}

[[answer]]
when = "An odd answer"
masses = [0.0, 0.9, 0.0, 0.0, 0.0]
delay_ms = {delay}
"""
# Seconds without an answer to a line: several leases.
STANDSTILL = 60
SCORES = {"even": 4, "odd": 2}


def answers(delay_ms):
    return ANSWERS.format(delay=delay_ms)


def kind(number):
    return "odd" if number % 2 else "even"


def text_of(number):
    return f"An {kind(number)} answer, number {number}."


def request(number):
    body = grading(text_of(number))
    return json.dumps({"custom_id": f"n{number}", "method": "POST", "url": ABSOLUTE, "body": body})


def requests(count):
    return "".join(request(number) + "\n" for number in range(count))


def upload(gavel, text):
    boundary = "a-boundary-of-this-suite"
    body = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="in.jsonl"\r\n'
        f"Content-Type: application/jsonl\r\n\r\n{text}\r\n--{boundary}--\r\n"
    )
    kind = f"multipart/form-data; boundary={boundary}"
    return gavel.ask("POST", "/v1/files", body.encode(), {"Content-Type": kind})


def submit(gavel, text):
    """Uploads requests, and makes a batch of them; returns its id."""
    file = upload(gavel, text)
    must(file.status == 200, f"the upload was answered with {file.status}: {file.text}")
    batch = {"input_file_id": file.json["id"], "endpoint": ABSOLUTE, "completion_window": "24h"}
    made = gavel.post("/v1/batches", batch)
    must(made.status == 200, f"the batch was answered with {made.status}: {made.text}")
    return made.json["id"]


def show(gavel, batch):
    """A batch, or None while the server is away."""
    reply = gavel.get(f"/v1/batches/{batch}")
    return reply.json if reply.status == 200 else None


def done(gavel, batch):
    """How many lines are answered."""
    counts = (show(gavel, batch) or {}).get("request_counts", {})
    return counts.get("completed", 0) + counts.get("failed", 0)


def completed(gavel, batch):
    """The batch when it has ended. One in which no line is answered for a minute does not end."""
    seen = None

    def moved():
        """The batch, if it has ended or gone on."""
        found = show(gavel, batch)
        return found if found and (found["status"], found["request_counts"]) != seen else None

    while True:
        found = until(f"{batch} goes on: {seen}", moved, STANDSTILL, pause=0.1)
        if found["status"] in ("completed", "failed", "expired", "cancelled"):
            break
        seen = (found["status"], found["request_counts"])
    must(found["status"] == "completed", f"the batch is {found['status']}: {json.dumps(found)}")
    return found


def lines(gavel, file):
    if not file:
        return []
    reply = gavel.get(f"/v1/files/{file}/content")
    must(reply.status == 200, f"the content of {file} was answered with {reply.status}: {reply.text[:300]}")
    return [json.loads(line) for line in reply.text.splitlines()]


def exactly_once(gavel, batch, count):
    """Waits for the end of a batch of `requests(count)`; checks that every line has its answer, once and in order."""
    ended = completed(gavel, batch)
    errors = lines(gavel, ended["error_file_id"])
    must(not errors, f"{len(errors)} lines were answered with errors, the first: {errors and errors[0]}")
    found = lines(gavel, ended["output_file_id"])
    names = [line["custom_id"] for line in found]
    must(len(names) == len(set(names)), f"{len(names) - len(set(names))} lines were answered twice")
    missing = {f"n{number}" for number in range(count)} - set(names)
    must(not missing, f"{len(missing)} lines have no answer, such as {sorted(missing)[:3]}")
    must(names == [f"n{number}" for number in range(count)], "the answers are not in the order of the input")
    for number, line in enumerate(found):
        score = line["response"]["body"]["score"]
        must(score == SCORES[kind(number)], f"line {number} has the answer of another: {line}")
    counts = {"total": count, "completed": count, "failed": 0}
    must(ended["request_counts"] == counts, f"{ended['request_counts']} is counted, {counts} is there")
    return ended
