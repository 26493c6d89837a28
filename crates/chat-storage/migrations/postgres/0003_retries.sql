-- Messages without an id of their sender's need no place in the index of these ids. Under its old name: a send that loses
-- against a retry of itself is known by it.
ALTER TABLE messages DROP CONSTRAINT messages_client_message_id;
CREATE UNIQUE INDEX messages_client_message_id ON messages (sender_id, client_message_id)
    WHERE client_message_id IS NOT NULL;
