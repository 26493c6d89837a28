-- Tokens of the user that were issued before this moment are void; null if none were ever revoked.
ALTER TABLE users ADD COLUMN tokens_valid_from BIGINT;
