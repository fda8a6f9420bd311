-- Every statement of the journal, under a name. Migrations are append-only: a release never
-- changes one that an earlier release shipped.

-- migration: 1
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO meta VALUES ('epoch', '0'), ('salt', lower(hex(randomblob(16))));

CREATE TABLE runs (
  id          TEXT PRIMARY KEY,
  created     REAL NOT NULL,
  kind        TEXT NOT NULL,              -- batch, note, api, library
  digest      TEXT NOT NULL,              -- of the input and the options that change pictures
  out         TEXT NOT NULL,              -- absolute folder of its files; empty: store only
  options     TEXT NOT NULL,              -- JSON
  environment TEXT NOT NULL,              -- JSON: what it may touch
  state       TEXT NOT NULL DEFAULT 'open',  -- open, paused, cancelled, done
  priority    INTEGER NOT NULL DEFAULT 0, -- a person waiting: 10; bulk: 0
  budget      REAL,
  currency    TEXT NOT NULL DEFAULT '',
  total       INTEGER NOT NULL DEFAULT 0,
  complete    INTEGER NOT NULL DEFAULT 0, -- whether its input has been read to the end
  seq         INTEGER NOT NULL DEFAULT 0, -- outcomes so far; only grows, so that watchers miss none
  owner       TEXT NOT NULL DEFAULT '',   -- token of the process that wants it carried
  note        TEXT NOT NULL DEFAULT ''    -- why it waits for a person; empty while it does not
) WITHOUT ROWID;
CREATE INDEX runs_by_out ON runs (out);

CREATE TABLE jobs (
  id       INTEGER PRIMARY KEY,
  run      TEXT NOT NULL REFERENCES runs,
  row      INTEGER NOT NULL,
  take     INTEGER NOT NULL,
  key      TEXT NOT NULL,                 -- empty for an invalid row
  request  TEXT NOT NULL,                 -- canonical JSON of the request
  input    TEXT NOT NULL,                 -- JSON: the row's id, file name and own columns
  status   TEXT NOT NULL DEFAULT 'pending',
  tries    INTEGER NOT NULL DEFAULT 0,    -- tasks begun for it
  task     INTEGER,                       -- the task that decided it
  image    TEXT,                          -- sha256 of the provider's bytes
  file     TEXT NOT NULL DEFAULT '',
  sha256   TEXT NOT NULL DEFAULT '',      -- of the delivered file
  flags    TEXT NOT NULL DEFAULT '',
  code     TEXT NOT NULL DEFAULT '',
  error    TEXT NOT NULL DEFAULT '',
  ended    REAL,
  seq      INTEGER,                       -- order of outcomes, for watchers that catch up
  UNIQUE (run, row, take)
);
CREATE INDEX jobs_waiting ON jobs (run, id) WHERE status = 'pending';
CREATE INDEX jobs_by_key ON jobs (key);
CREATE INDEX jobs_by_seq ON jobs (run, seq) WHERE seq IS NOT NULL;

CREATE TABLE tasks (
  id         INTEGER PRIMARY KEY,
  job        INTEGER NOT NULL REFERENCES jobs,
  run        TEXT NOT NULL,
  key        TEXT NOT NULL,
  endpoint   TEXT NOT NULL,
  place      TEXT NOT NULL,               -- provider, address, salted fingerprint of the key
  account    TEXT NOT NULL,
  model      TEXT NOT NULL,
  lane       TEXT NOT NULL,
  state      TEXT NOT NULL,               -- see docs/architecture.md for the picture
  epoch      INTEGER NOT NULL,
  seed       INTEGER,
  size       TEXT NOT NULL DEFAULT '',
  intent_at  REAL NOT NULL,               -- just before the POST leaves
  lost_at    REAL,                        -- when its answer was given up
  ticket_id  TEXT,
  ticket     TEXT,                        -- JSON
  accepted_at REAL,
  queued     REAL, started REAL, ended REAL,  -- the service's own times
  closed_at  REAL,
  result     TEXT,                        -- JSON: links and words of a finished picture
  price      REAL,                        -- NULL: unknown
  currency   TEXT NOT NULL DEFAULT '',
  price_source TEXT NOT NULL DEFAULT 'unknown',
  billed     TEXT NOT NULL DEFAULT 'maybe',  -- yes, no, maybe
  code       TEXT NOT NULL DEFAULT '',
  error      TEXT NOT NULL DEFAULT ''
);
-- The promise, held by the database itself: one live task a key.
CREATE UNIQUE INDEX one_live_task ON tasks (key)
  WHERE state IN ('intent', 'accepted', 'doubt', 'made');
CREATE UNIQUE INDEX one_task_a_ticket ON tasks (ticket_id, place) WHERE ticket_id IS NOT NULL;
CREATE INDEX tasks_by_run ON tasks (run);
CREATE INDEX tasks_by_job ON tasks (job);
CREATE INDEX tasks_by_time ON tasks (account, intent_at);

CREATE TABLE images (
  key    TEXT PRIMARY KEY,
  sha256 TEXT NOT NULL,
  task   INTEGER,
  format TEXT NOT NULL,
  width  INTEGER NOT NULL,
  height INTEGER NOT NULL,
  bytes  INTEGER NOT NULL,
  made   REAL NOT NULL,
  about  TEXT NOT NULL                    -- JSON: what was sent, what was rewritten
) WITHOUT ROWID;
CREATE INDEX images_by_sha ON images (sha256);

CREATE TABLE learnt (
  what TEXT NOT NULL, whom TEXT NOT NULL, value TEXT NOT NULL, at REAL NOT NULL,
  PRIMARY KEY (what, whom)
) WITHOUT ROWID;

-- migration: 2
-- What a report is drawn from: status queries of the task, when we learnt that it had ended,
-- when its bytes lay verified on the disk (nominal Unix seconds).
ALTER TABLE tasks ADD COLUMN polls INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tasks ADD COLUMN seen_at REAL;
ALTER TABLE tasks ADD COLUMN fetched_at REAL;

-- migration: 3
-- What `redloom serve` keeps: who called, what a repeated request meant, notes, opinions, hooks.
INSERT OR IGNORE INTO meta VALUES ('studio', lower(hex(randomblob(32))));

CREATE TABLE callers (
  name       TEXT PRIMARY KEY,
  hash       TEXT NOT NULL,               -- SHA-256 of the token; the token itself is nowhere
  created    REAL NOT NULL,
  per_minute REAL,                        -- pictures; NULL: no limit
  budget     REAL,
  currency   TEXT NOT NULL DEFAULT '',
  revoked    REAL
) WITHOUT ROWID;

CREATE TABLE asked (                      -- a run as it was asked for over HTTP
  run      TEXT PRIMARY KEY,
  caller   TEXT NOT NULL,
  name     TEXT NOT NULL DEFAULT '',
  about    TEXT NOT NULL DEFAULT '{}',    -- JSON: what only the studio knows of it
  reserved REAL NOT NULL DEFAULT 0,       -- what it may cost at most, while it goes on
  currency TEXT NOT NULL DEFAULT '',
  hook     TEXT NOT NULL DEFAULT '',      -- where its end is told
  hook_state TEXT NOT NULL DEFAULT '',    -- empty, waiting, told, given-up
  hook_tries INTEGER NOT NULL DEFAULT 0,
  hook_at  REAL
) WITHOUT ROWID;
CREATE INDEX asked_by_caller ON asked (caller);

CREATE TABLE repeats (                    -- Idempotency-Key
  caller TEXT NOT NULL, key TEXT NOT NULL, digest TEXT NOT NULL, what TEXT NOT NULL DEFAULT '',
  at REAL NOT NULL, PRIMARY KEY (caller, key)
) WITHOUT ROWID;

CREATE TABLE notes (
  id      TEXT PRIMARY KEY,
  created REAL NOT NULL,
  updated REAL NOT NULL,
  caller  TEXT NOT NULL,
  state   TEXT NOT NULL,                  -- writing, outline, painting, setting, done, failed, cancelled, removed
  title   TEXT NOT NULL DEFAULT '',
  story   TEXT NOT NULL,
  asked   TEXT NOT NULL,                  -- JSON: its settings
  plan    TEXT NOT NULL DEFAULT '',       -- JSON: what the writer wrote; paid for once
  run     TEXT NOT NULL DEFAULT '',       -- its pictures'
  doing   TEXT NOT NULL DEFAULT '',       -- JSON: the edit under way, for the next start
  error   TEXT NOT NULL DEFAULT '',
  hook    TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
CREATE INDEX notes_by_time ON notes (created);

CREATE TABLE feedback (
  image TEXT PRIMARY KEY,                 -- sha256 of the picture in the store
  thumb INTEGER NOT NULL DEFAULT 0,       -- -1, 0, 1
  used  INTEGER NOT NULL DEFAULT 0,
  at    REAL NOT NULL
) WITHOUT ROWID;

-- migration: 4
-- Kept free.

-- migration: 5
-- A million rows: what is asked often is answered from an index. Rows and tasks come into these
-- once, when they end; what is open is few and has indexes of its own.
CREATE INDEX jobs_ended ON jobs (run, status, ended) WHERE status != 'pending';
CREATE INDEX jobs_by_file ON jobs (run, file COLLATE NOCASE) WHERE status = 'ok';
CREATE INDEX tasks_spent ON tasks (run, billed, currency, price_source, price, state, endpoint, model, intent_at, closed_at)
  WHERE closed_at IS NOT NULL;
CREATE INDEX tasks_abandoned ON tasks (account, intent_at) WHERE state = 'abandoned';
CREATE INDEX images_by_time ON images (made);
CREATE INDEX runs_by_time ON runs (created, id);
CREATE INDEX runs_unfinished ON runs (priority, created) WHERE state IN ('open', 'paused');
CREATE INDEX hooks_waiting ON asked (hook_at) WHERE hook_state = 'waiting';

-- name: meta
SELECT value FROM meta WHERE name = :item;

-- name: next_epoch
UPDATE meta SET value = CAST(value AS INTEGER) + 1 WHERE name = 'epoch' RETURNING CAST(value AS INTEGER);

-- name: add_run
INSERT INTO runs (id, created, kind, digest, out, options, environment, priority, budget, currency, owner)
VALUES (:id, :created, :kind, :digest, :out, :options, :environment, :priority, :budget, :currency, :owner);

-- name: run
SELECT * FROM runs WHERE id = :id;

-- name: run_state
SELECT state FROM runs WHERE id = :id;

-- name: runs
SELECT * FROM runs ORDER BY created DESC, id DESC LIMIT :limit;

-- name: runs_into
SELECT * FROM runs WHERE out = :out ORDER BY created DESC;

-- name: open_runs
SELECT * FROM runs WHERE state IN ('open', 'paused') AND state = 'open' AND note = '' ORDER BY priority DESC, created;

-- name: set_run_state
UPDATE runs SET state = :state WHERE id = :id AND state IN (SELECT value FROM json_each(:from_states));

-- name: finish_run
UPDATE runs SET state = 'done' WHERE id = :id AND state = 'open'
  AND NOT EXISTS (SELECT 1 FROM jobs WHERE run = :id AND status = 'pending');

-- name: set_run_complete
UPDATE runs SET complete = 1, total = (SELECT count(*) FROM jobs WHERE run = :id) WHERE id = :id;

-- name: own_run
UPDATE runs SET owner = :owner, note = '', environment = :environment,
  state = 'open',
  budget = CASE WHEN :set_budget THEN :budget ELSE budget END,
  currency = CASE WHEN :currency = '' THEN currency ELSE :currency END
WHERE id = :id;

-- name: set_note
UPDATE runs SET note = :note WHERE id = :id;

-- name: live_of_run
SELECT count(*) FROM tasks INDEXED BY one_live_task
WHERE +run = :run AND state IN ('intent', 'accepted', 'doubt', 'made') AND state != 'doubt';

-- name: leave_out
UPDATE runs SET out = '', state = CASE WHEN state = 'done' THEN state ELSE 'cancelled' END WHERE id = :id;

-- name: extend_run
UPDATE runs SET digest = :digest, complete = 0, state = 'open' WHERE id = :id;

-- name: keys_of
SELECT key FROM jobs WHERE run = :run;

-- name: ended_keys
SELECT key FROM jobs WHERE run = :run AND status IN ('refused', 'failed');

-- name: set_priority
UPDATE runs SET priority = :priority WHERE id = :id;

-- name: last_row
SELECT coalesce(max(row), 0) FROM jobs WHERE run = :run;

-- name: add_job
INSERT INTO jobs (run, row, take, key, request, input, status, code, error, ended, seq)
VALUES (:run, :row, :take, :key, :request, :input, :status, :code, :error, :ended, :seq)
ON CONFLICT (run, row, take) DO NOTHING;

-- name: waiting_jobs
SELECT jobs.*, images.sha256 AS stored,
       (SELECT id FROM tasks WHERE tasks.key = jobs.key
         AND tasks.state IN ('intent', 'accepted', 'doubt', 'made')) AS live_task
FROM jobs LEFT JOIN images ON images.key = jobs.key
WHERE jobs.run = :run AND jobs.status = 'pending' AND jobs.id > :after
ORDER BY jobs.id LIMIT :limit;

-- name: any_waiting
SELECT EXISTS (SELECT 1 FROM jobs WHERE run = :run AND status = 'pending');

-- name: count_waiting
SELECT count(*) FROM jobs WHERE run = :run AND status = 'pending';

-- name: next_seq
UPDATE runs SET seq = seq + 1 WHERE id = :run RETURNING seq;

-- name: next_seq_of_job
UPDATE runs SET seq = seq + 1 WHERE id = (SELECT run FROM jobs WHERE id = :id) RETURNING seq;

-- name: end_job
UPDATE jobs SET status = :status, task = coalesce(:task, task), image = :image, file = :file,
  sha256 = :sha256, flags = :flags, code = :code, error = :error, ended = :ended, seq = :seq
WHERE id = :id AND status = 'pending';

-- name: reopen_jobs
UPDATE jobs SET status = 'pending', code = '', error = '', ended = NULL, seq = NULL
WHERE run = :run AND status != 'pending' AND status IN (SELECT value FROM json_each(:statuses));

-- name: reopen_unfetched
UPDATE jobs SET status = 'pending', code = '', error = '', ended = NULL, seq = NULL
WHERE run = :run AND status = 'failed' AND key IN
  (SELECT key FROM tasks INDEXED BY one_live_task
   WHERE state IN ('intent', 'accepted', 'doubt', 'made') AND state = 'made');

-- name: cancel_jobs
UPDATE jobs SET status = 'cancelled', ended = :ended, seq = :seq
WHERE run = :run AND status = 'pending' AND NOT EXISTS
  (SELECT 1 FROM tasks WHERE tasks.job = jobs.id AND tasks.state IN ('intent', 'accepted', 'doubt', 'made'));

-- name: doubt_jobs
UPDATE jobs SET status = 'in-doubt', code = 'answer-lost', error = :error, ended = :ended, seq = :seq
WHERE run = :run AND status = 'pending' AND EXISTS
  (SELECT 1 FROM tasks WHERE tasks.job = jobs.id AND tasks.state = 'doubt');

-- name: twin
SELECT row, file FROM jobs WHERE run = :run AND key = :key AND status = 'ok' ORDER BY id LIMIT 1;

-- name: soften_job
UPDATE jobs SET input = json_set(input, '$.asked', :asked, '$.softened', :words) WHERE id = :id;

-- name: allow_softening
UPDATE runs SET options = json_set(options, '$.soften', json('true')) WHERE id = :id;

-- name: set_policy
UPDATE runs SET options = json_set(options, '$.in_doubt', :in_doubt) WHERE id = :id;

-- name: file_taken
SELECT EXISTS (SELECT 1 FROM jobs WHERE run = :run AND status = 'ok' AND id != :id
  AND file = :file COLLATE NOCASE);

-- name: fingerprints
SELECT json_extract(images.about, '$.fingerprint') AS mark, jobs.row, jobs.take
FROM (SELECT * FROM jobs WHERE run = :run AND status = 'ok' AND status != 'pending'
      ORDER BY ended DESC LIMIT 20000) AS jobs
  JOIN images ON images.key = jobs.key ORDER BY jobs.id;

-- name: counts
SELECT status, count(*) AS number FROM jobs WHERE run = :run AND status != 'pending' GROUP BY status
UNION ALL SELECT status, count(*) FROM jobs WHERE run = :run AND status = 'pending' GROUP BY status;

-- name: rows
SELECT jobs.*, runs.out, tasks.endpoint, tasks.model AS served, tasks.seed, tasks.size AS sent_size,
       tasks.ticket_id, tasks.intent_at, tasks.accepted_at, tasks.closed_at, tasks.queued,
       tasks.started, tasks.ended AS task_ended, tasks.price, tasks.currency, tasks.price_source,
       tasks.billed, tasks.run AS task_run, tasks.job AS task_job, tasks.result,
       images.sha256 AS source_sha256, images.width, images.height, images.about
FROM jobs JOIN runs ON runs.id = jobs.run LEFT JOIN tasks ON tasks.id = jobs.task
  LEFT JOIN images ON images.key = jobs.key
WHERE jobs.run = :run AND (jobs.row, jobs.take) > (:row, :take)
ORDER BY jobs.row, jobs.take LIMIT :limit;

-- name: sample_of_rows
-- Every step-th row of a run, and the first that ended without a picture.
SELECT id FROM (
  SELECT id, row, take FROM jobs WHERE run = :run AND row % :step = 1 % :step
  UNION SELECT * FROM (SELECT id, row, take FROM jobs
    WHERE run = :run AND status IN ('refused', 'failed', 'in-doubt', 'invalid') AND status != 'pending'
    ORDER BY row, take LIMIT :troubled))
ORDER BY row, take;

-- name: ids_of_statuses
-- Along the rows' own index: a page costs what lies between its rows, whatever the rest is.
SELECT id, row, take FROM jobs WHERE run = :run AND (row, take) > (:row, :take)
  AND +status IN (SELECT value FROM json_each(:statuses)) ORDER BY row, take LIMIT :limit;

-- name: rows_by_id
SELECT jobs.*, runs.out, tasks.endpoint, tasks.model AS served, tasks.seed, tasks.size AS sent_size,
       tasks.ticket_id, tasks.intent_at, tasks.accepted_at, tasks.closed_at, tasks.queued,
       tasks.started, tasks.ended AS task_ended, tasks.price, tasks.currency, tasks.price_source,
       tasks.billed, tasks.run AS task_run, tasks.job AS task_job, tasks.result,
       images.sha256 AS source_sha256, images.width, images.height, images.about
FROM jobs JOIN runs ON runs.id = jobs.run LEFT JOIN tasks ON tasks.id = jobs.task
  LEFT JOIN images ON images.key = jobs.key
WHERE jobs.id IN (SELECT value FROM json_each(:ids))
ORDER BY jobs.row, jobs.take;

-- name: outcomes_since
SELECT jobs.*, runs.out, tasks.endpoint, tasks.model AS served, tasks.seed, tasks.size AS sent_size,
       tasks.ticket_id, tasks.intent_at, tasks.accepted_at, tasks.closed_at, tasks.queued,
       tasks.started, tasks.ended AS task_ended, tasks.price, tasks.currency, tasks.price_source,
       tasks.billed, tasks.run AS task_run, tasks.job AS task_job, tasks.result,
       images.sha256 AS source_sha256, images.width, images.height, images.about
FROM jobs JOIN runs ON runs.id = jobs.run LEFT JOIN tasks ON tasks.id = jobs.task
  LEFT JOIN images ON images.key = jobs.key
WHERE jobs.run = :run AND jobs.seq >= :seq AND (jobs.seq, jobs.id) > (:seq, :id) ORDER BY jobs.seq, jobs.id LIMIT :limit;

-- name: add_intent
INSERT INTO tasks (job, run, key, endpoint, place, account, model, lane, state, epoch, seed, size,
                   intent_at, price, currency, price_source)
SELECT :job, :run, :key, :endpoint, :place, :account, :model, :lane, 'intent', :epoch, :seed, :size,
       :intent_at, :price, :currency, :price_source
WHERE (SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'epoch') = :epoch
  AND EXISTS (SELECT 1 FROM jobs WHERE id = :job AND status = 'pending')
RETURNING id;

-- name: job_waits
SELECT EXISTS (SELECT 1 FROM jobs WHERE id = :id AND status = 'pending');

-- name: count_try
UPDATE jobs SET tries = tries + 1 WHERE id = :job;

-- name: uncount_try
UPDATE jobs SET tries = max(0, tries - 1) WHERE id = (SELECT job FROM tasks WHERE id = :id);

-- name: set_ticket
UPDATE tasks SET state = 'accepted', ticket_id = :ticket_id, ticket = :ticket, accepted_at = :at
WHERE id = :id AND state IN ('intent', 'doubt');

-- name: set_made
UPDATE tasks SET state = 'made', result = :result, billed = 'yes', accepted_at = coalesce(accepted_at, :at),
  polls = polls + :polls, seen_at = coalesce(:seen_at, seen_at),
  queued = :queued, started = :started, ended = :ended,
  price = coalesce(:price, price), currency = coalesce(:currency, currency),
  price_source = coalesce(:price_source, price_source)
WHERE id = :id AND state IN ('intent', 'accepted', 'doubt', 'made');

-- name: set_doubt
UPDATE tasks SET state = 'doubt', lost_at = :at, code = :code, error = :error
WHERE id = :id AND state = 'intent';

-- name: prove_void
UPDATE tasks SET state = 'void', billed = 'no', closed_at = :at, code = 'not-accepted'
WHERE id = :id AND state = 'doubt' AND ticket_id IS NULL;

-- name: abandon
UPDATE tasks SET state = 'abandoned', closed_at = :at, code = 'answer-lost'
WHERE id = :id AND state IN ('intent', 'doubt') AND ticket_id IS NULL;

-- name: unset_ticket
UPDATE tasks SET state = 'doubt', ticket_id = NULL, ticket = NULL, accepted_at = NULL,
  result = NULL, billed = 'maybe', code = :code WHERE id = :id AND state IN ('accepted', 'made');

-- name: close_task
UPDATE tasks SET state = :state, billed = :billed, closed_at = :at, code = :code, error = :error,
  polls = polls + :polls, seen_at = coalesce(:seen_at, seen_at),
  fetched_at = coalesce(:fetched_at, fetched_at),
  result = coalesce(:result, result),
  queued = coalesce(:queued, queued), started = coalesce(:started, started), ended = coalesce(:ended, ended),
  price = coalesce(:price, price), currency = coalesce(:currency, currency),
  price_source = coalesce(:price_source, price_source)
WHERE id = :id AND state IN ('intent', 'accepted', 'doubt', 'made');

-- name: task
SELECT * FROM tasks WHERE id = :id;

-- name: doubt_orphans
UPDATE tasks SET state = 'doubt', lost_at = intent_at + :reach, code = 'crash'
WHERE state IN ('intent', 'accepted', 'doubt', 'made') AND state = 'intent' AND epoch < :epoch
RETURNING id;

-- name: live_tasks
SELECT tasks.*, jobs.row, jobs.take, jobs.request, jobs.input, jobs.tries, jobs.status AS job_status
FROM tasks JOIN jobs ON jobs.id = tasks.job
WHERE tasks.state IN ('intent', 'accepted', 'doubt', 'made');

-- name: reopen_job
UPDATE jobs SET status = 'pending', code = '', error = '', ended = NULL, seq = NULL
WHERE id = :id AND status IN ('in-doubt', 'failed', 'cancelled');

-- name: live_task_of
SELECT tasks.*, jobs.row, jobs.take, jobs.request, jobs.input, jobs.tries, jobs.status AS job_status
FROM tasks JOIN jobs ON jobs.id = tasks.job
WHERE tasks.key = :key AND tasks.state IN ('intent', 'accepted', 'doubt', 'made');

-- name: known_tickets
SELECT id, ticket_id, intent_at, accepted_at FROM tasks WHERE ticket_id IN (SELECT value FROM json_each(:ids));

-- name: last_task
SELECT coalesce(max(id), 0) FROM tasks;

-- name: open_intents
WITH open AS (
  SELECT * FROM tasks INDEXED BY one_live_task
  WHERE +account = :account AND state IN ('intent', 'accepted', 'doubt', 'made') AND state IN ('intent', 'doubt')
    AND intent_at <= :until AND coalesce(lost_at, :now) >= :since
  UNION ALL SELECT * FROM tasks
  WHERE account = :account AND state = 'abandoned' AND intent_at <= :until AND coalesce(lost_at, :now) >= :since)
SELECT open.id, open.model, open.intent_at, coalesce(open.lost_at, :now) AS lost_at, open.state,
       open.size, open.seed, jobs.request, jobs.input FROM open JOIN jobs ON jobs.id = open.job;

-- name: add_image
INSERT INTO images (key, sha256, task, format, width, height, bytes, made, about)
VALUES (:key, :sha256, :task, :format, :width, :height, :bytes, :made, :about)
ON CONFLICT (key) DO UPDATE SET sha256 = excluded.sha256, task = excluded.task, format = excluded.format,
  width = excluded.width, height = excluded.height, bytes = excluded.bytes, made = excluded.made,
  about = excluded.about;

-- name: image
SELECT * FROM images WHERE key = :key;

-- name: image_by_link
SELECT images.* FROM tasks CROSS JOIN images ON images.key = tasks.key
WHERE tasks.id > (SELECT max(id) FROM tasks) - 20000  -- a link lives for a day
  AND json_extract(tasks.result, '$.url') = :link LIMIT 1;

-- name: forget_old
DELETE FROM images WHERE key IN (
  SELECT key FROM images WHERE made < :before
    AND NOT EXISTS (SELECT 1 FROM jobs WHERE jobs.key = images.key AND jobs.status = 'pending')
    AND NOT EXISTS (SELECT 1 FROM tasks WHERE tasks.key = images.key
      AND tasks.state IN ('intent', 'accepted', 'doubt', 'made'))
  ORDER BY made LIMIT 2000);

-- name: forget_image
DELETE FROM images WHERE key = :key;

-- name: spent
SELECT currency, billed, price_source, count(*) AS number, sum(price) AS amount,
       sum(price IS NULL) AS unpriced, 0 AS open
FROM tasks INDEXED BY tasks_spent WHERE run = :run AND closed_at IS NOT NULL AND state != 'void'
GROUP BY billed, currency, price_source
UNION ALL SELECT currency, billed, price_source, count(*), sum(price), sum(price IS NULL), sum(state != 'made')
FROM tasks INDEXED BY one_live_task WHERE +run = :run AND state IN ('intent', 'accepted', 'doubt', 'made')
GROUP BY billed, currency, price_source;

-- name: endpoint_health
SELECT endpoint, sum(state = 'stored') AS made,
       sum(state IN ('failed', 'refused')) AS failed, sum(state = 'void') AS turned_away,
       sum(state IN ('doubt', 'lost', 'abandoned')) AS doubtful,
       avg(CASE WHEN state = 'stored' THEN coalesce(ended, closed_at) - coalesce(started, accepted_at, intent_at) END) AS seconds,
       max(intent_at) AS last
FROM tasks WHERE intent_at >= :since AND account IN (
  WITH RECURSIVE each(account) AS (SELECT min(account) FROM tasks
    UNION ALL SELECT (SELECT min(account) FROM tasks WHERE tasks.account > each.account) FROM each
      WHERE each.account IS NOT NULL)
  SELECT account FROM each)
GROUP BY endpoint;

-- name: committed
SELECT coalesce(sum(price), 0) AS amount
FROM (SELECT price FROM tasks
        WHERE run = :run AND closed_at IS NOT NULL AND billed IN ('yes', 'maybe') AND state != 'void'
      UNION ALL SELECT price FROM tasks INDEXED BY one_live_task
        WHERE +run = :run AND state IN ('intent', 'accepted', 'doubt', 'made') AND billed IN ('yes', 'maybe'));

-- name: learn
INSERT INTO learnt (what, whom, value, at) VALUES (:what, :whom, :value, :at)
ON CONFLICT (what, whom) DO UPDATE SET value = excluded.value, at = excluded.at;

-- name: learnt
SELECT value FROM learnt WHERE what = :what AND whom = :whom;

-- name: clocks
SELECT id AS task, endpoint, queued - (intent_at + accepted_at) / 2 AS ahead FROM tasks
WHERE run = :run AND lane = 'async' AND queued IS NOT NULL AND accepted_at IS NOT NULL
  AND id > :after ORDER BY id LIMIT :limit;

-- name: tries
-- In the order of tries.Try's fields.
SELECT tasks.id AS task, tasks.job, jobs.row, jobs.take, tasks.endpoint, tasks.account, tasks.lane,
  tasks.state, tasks.billed, tasks.code, tasks.price, tasks.currency, tasks.intent_at,
  tasks.accepted_at, tasks.queued, tasks.started, tasks.ended, tasks.seen_at, tasks.fetched_at,
  tasks.closed_at, tasks.polls
FROM tasks JOIN jobs ON jobs.id = tasks.job
WHERE tasks.run = :run AND tasks.id > :after ORDER BY tasks.id LIMIT :limit;

-- name: tries_beside
SELECT count(*) AS number, coalesce(sum(min(ended, :until) - max(started, :since)), 0) AS seconds
FROM tasks WHERE run != :run AND account = :account
  AND intent_at BETWEEN :since - 172800 AND :until + 3600  -- no task takes longer
  AND started < :until AND ended > :since;

-- The studio.

-- name: add_caller
INSERT INTO callers (name, hash, created, per_minute, budget, currency)
VALUES (:who, :hash, :created, :per_minute, :budget, :currency) ON CONFLICT (name) DO NOTHING;

-- name: callers
SELECT * FROM callers ORDER BY created;

-- name: caller
SELECT * FROM callers WHERE name = :who;

-- name: caller_by_hash
SELECT * FROM callers WHERE hash = :hash;

-- name: revoke_caller
UPDATE callers SET revoked = :at WHERE name = :who AND revoked IS NULL;

-- name: committed_of_caller
SELECT coalesce(sum(CASE WHEN runs.state = 'open' OR runs.state = 'paused' THEN max(asked.reserved, spent) ELSE spent END), 0)
FROM (SELECT asked.run, (SELECT coalesce(sum(price), 0) FROM tasks WHERE tasks.run = asked.run
        AND billed IN ('yes', 'maybe') AND tasks.state != 'void') AS spent
      FROM asked WHERE asked.caller = :caller) AS sums
JOIN asked ON asked.run = sums.run LEFT JOIN runs ON runs.id = asked.run;

-- name: spent_of_caller
SELECT coalesce(sum(price), 0) FROM tasks JOIN asked ON asked.run = tasks.run
WHERE asked.caller = :caller AND billed IN ('yes', 'maybe') AND tasks.state != 'void';

-- name: add_asked
INSERT INTO asked (run, caller, name, about, reserved, currency, hook, hook_state)
VALUES (:run, :caller, :label, :about, :reserved, :currency, :hook, :hook_state)
ON CONFLICT (run) DO NOTHING;

-- name: asked
SELECT * FROM asked WHERE run = :run;

-- name: hooks_due
SELECT asked.*, runs.state AS run_state FROM asked JOIN runs ON runs.id = asked.run
WHERE hook_state = 'waiting' AND coalesce(hook_at, 0) <= :now AND runs.state IN ('done', 'cancelled');

-- name: set_hook
UPDATE asked SET hook_state = :state, hook_tries = :tries, hook_at = :at WHERE run = :run;

-- name: add_repeat
INSERT INTO repeats (caller, key, digest, at) VALUES (:caller, :key, :digest, :at)
ON CONFLICT (caller, key) DO NOTHING;

-- name: repeat
SELECT * FROM repeats WHERE caller = :caller AND key = :key;

-- name: set_repeat
UPDATE repeats SET what = :what WHERE caller = :caller AND key = :key;

-- name: page_of_runs
SELECT runs.*, asked.caller, asked.name, asked.about FROM runs LEFT JOIN asked ON asked.run = runs.id
WHERE (:before = '' OR (runs.created, runs.id) < (SELECT created, id FROM runs WHERE id = :before))
  AND (:caller = '' OR asked.caller = :caller)
  AND (:states = '[]' OR (CASE WHEN runs.state = 'open' AND runs.note != '' THEN 'waiting' ELSE runs.state END)
       IN (SELECT value FROM json_each(:states)))
  AND (:kinds = '[]' OR runs.kind IN (SELECT value FROM json_each(:kinds)))
  AND (:words = '' OR asked.name LIKE :words ESCAPE '!' OR runs.id LIKE :words ESCAPE '!')
ORDER BY runs.created DESC, runs.id DESC LIMIT :limit;

-- name: unfinished_of
SELECT * FROM runs WHERE state IN ('open', 'paused') AND kind IN (SELECT value FROM json_each(:kinds));

-- name: filtered_rows
SELECT jobs.*, runs.out, tasks.endpoint, tasks.model AS served, tasks.seed, tasks.size AS sent_size,
       tasks.ticket_id, tasks.intent_at, tasks.accepted_at, tasks.closed_at, tasks.queued,
       tasks.started, tasks.ended AS task_ended, tasks.price, tasks.currency, tasks.price_source,
       tasks.billed, tasks.run AS task_run, tasks.job AS task_job, tasks.result,
       images.sha256 AS source_sha256, images.width, images.height, images.about
FROM jobs JOIN runs ON runs.id = jobs.run LEFT JOIN tasks ON tasks.id = jobs.task
  LEFT JOIN images ON images.key = jobs.key
WHERE jobs.id IN (
  SELECT id FROM jobs WHERE run = :run
    AND (:statuses = '[]' OR status IN (SELECT value FROM json_each(:statuses)))
    AND (:words = '' OR request LIKE :words ESCAPE '!' OR input LIKE :words ESCAPE '!')
  ORDER BY row, take LIMIT :limit OFFSET :offset)
ORDER BY jobs.row, jobs.take;

-- name: count_filtered
SELECT count(*) FROM jobs WHERE run = :run
  AND (:statuses = '[]' OR status IN (SELECT value FROM json_each(:statuses)))
  AND (:words = '' OR request LIKE :words ESCAPE '!' OR input LIKE :words ESCAPE '!');

-- name: one_row
SELECT jobs.*, runs.out, tasks.endpoint, tasks.model AS served, tasks.seed, tasks.size AS sent_size,
       tasks.ticket_id, tasks.intent_at, tasks.accepted_at, tasks.closed_at, tasks.queued,
       tasks.started, tasks.ended AS task_ended, tasks.price, tasks.currency, tasks.price_source,
       tasks.billed, tasks.run AS task_run, tasks.job AS task_job, tasks.result,
       images.sha256 AS source_sha256, images.width, images.height, images.about
FROM jobs JOIN runs ON runs.id = jobs.run LEFT JOIN tasks ON tasks.id = jobs.task
  LEFT JOIN images ON images.key = jobs.key
WHERE jobs.run = :run AND jobs.row = :row AND jobs.take = :take;

-- name: live_of_jobs
SELECT tasks.job, tasks.state, tasks.started, jobs.row, jobs.take, tasks.endpoint FROM tasks INDEXED BY one_live_task JOIN jobs ON jobs.id = tasks.job
WHERE +tasks.run = :run AND tasks.state IN ('intent', 'accepted', 'doubt', 'made') AND jobs.status = 'pending';

-- name: done_since
SELECT count(*) FROM jobs WHERE run = :run AND status != 'pending' AND status IN ('ok', 'duplicate') AND ended >= :since;

-- name: image_by_sha
SELECT * FROM images WHERE sha256 = :sha256 LIMIT 1;

-- name: caller_of_image
SELECT 1 FROM jobs JOIN asked ON asked.run = jobs.run WHERE jobs.image = :image AND asked.caller = :caller LIMIT 1;

-- name: set_feedback
INSERT INTO feedback (image, thumb, used, at) VALUES (:image, coalesce(:thumb, 0), coalesce(:used, 0), :at)
ON CONFLICT (image) DO UPDATE SET thumb = coalesce(:thumb, thumb), used = coalesce(:used, used), at = :at
RETURNING thumb, used;

-- name: feedback_of
SELECT image, thumb, used FROM feedback WHERE image IN (SELECT value FROM json_each(:images));

-- name: record_of_endpoints
SELECT counted.*, coalesce(up, 0) AS up, coalesce(down, 0) AS down, coalesce(used, 0) AS used,
  coalesce(kept, 0) AS kept
FROM (SELECT endpoint, model, currency, sum(state = 'stored') AS made,
        sum(state IN ('failed', 'refused', 'lost')) AS failed,
        coalesce(sum(CASE WHEN billed = 'yes' THEN price END), 0) AS spent
      FROM tasks WHERE closed_at IS NOT NULL AND state != 'void' GROUP BY endpoint, model, currency) AS counted
LEFT JOIN (SELECT tasks.endpoint, tasks.model, tasks.currency, sum(feedback.thumb = 1) AS up,
             sum(feedback.thumb = -1) AS down, sum(feedback.used = 1) AS used,
             sum(feedback.used = 1 OR feedback.thumb = 1) AS kept
           FROM feedback CROSS JOIN images ON images.sha256 = feedback.image
             CROSS JOIN tasks ON tasks.id = images.task
           GROUP BY tasks.endpoint, tasks.model, tasks.currency) AS thought
  USING (endpoint, model, currency);

-- name: spent_by_day
SELECT date(intent_at, 'unixepoch', 'localtime') AS day, currency, billed,
  coalesce(sum(price), 0) AS amount, sum(state = 'stored') AS pictures
FROM tasks WHERE closed_at IS NOT NULL AND state != 'void' AND billed IN ('yes', 'maybe') GROUP BY day, currency, billed ORDER BY day DESC LIMIT 400;

-- name: add_note
INSERT INTO notes (id, created, updated, caller, state, title, story, asked, hook)
VALUES (:id, :created, :created, :caller, :state, :title, :story, :asked, :hook);

-- name: note
SELECT * FROM notes WHERE id = :id AND state != 'removed';

-- name: page_of_notes
SELECT * FROM notes WHERE state != 'removed'
  AND (:before = '' OR (created, id) < (SELECT created, id FROM notes WHERE id = :before))
  AND (:caller = '' OR caller = :caller)
  AND (:words = '' OR title LIKE :words ESCAPE '!' OR story LIKE :words ESCAPE '!' OR plan LIKE :words ESCAPE '!')
ORDER BY created DESC, id DESC LIMIT :limit;

-- name: unfinished_notes
SELECT * FROM notes WHERE state IN ('writing', 'painting', 'setting') ORDER BY created;

-- name: set_note_values
UPDATE notes SET updated = :at, state = coalesce(:state, state), title = coalesce(:title, title),
  asked = coalesce(:asked, asked), plan = coalesce(:plan, plan), run = coalesce(:run, run),
  doing = coalesce(:doing, doing), error = coalesce(:error, error)
WHERE id = :id;

-- name: key_of_caller
SELECT 1 FROM jobs JOIN asked ON asked.run = jobs.run WHERE jobs.key = :key AND asked.caller = :caller LIMIT 1;

-- For a bug report (`redloom doctor --bundle`): counts and codes, read by a connection that cannot write.

-- name: schema_version
SELECT user_version FROM pragma_user_version;

-- name: jobs_by_status
SELECT status, count(*) AS number FROM jobs GROUP BY status;

-- name: tasks_by_state
SELECT endpoint, model, lane, state, billed, code, count(*) AS number FROM tasks
GROUP BY endpoint, model, lane, state, billed, code ORDER BY number DESC LIMIT :limit;

-- name: latest_problems
SELECT run, row, take, request, status, tries, code, error, flags, ended FROM jobs
WHERE status NOT IN ('ok', 'duplicate') AND run = :run ORDER BY id DESC LIMIT :limit;

-- name: latest_tasks
SELECT tasks.run, jobs.row, jobs.take, tasks.endpoint, tasks.model, tasks.lane, tasks.state, tasks.size,
  tasks.intent_at, tasks.lost_at, tasks.accepted_at, tasks.queued, tasks.started, tasks.ended, tasks.seen_at,
  tasks.fetched_at, tasks.closed_at, tasks.polls, tasks.price, tasks.currency, tasks.price_source,
  tasks.billed, tasks.code
FROM tasks LEFT JOIN jobs ON jobs.id = tasks.job ORDER BY tasks.id DESC LIMIT :limit;

-- name: all_learnt
SELECT what, whom, value, at FROM learnt WHERE what != 'diary' ORDER BY at DESC LIMIT :limit;
