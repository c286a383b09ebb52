ALTER TABLE flipr.users ADD COLUMN IF NOT EXISTS name text;
