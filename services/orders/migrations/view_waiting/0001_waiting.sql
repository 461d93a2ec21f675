-- Orders that wait for the inventory: those without its answer, and those that are confirmed and not allocated. The time of
-- the allocation is in the JSON alone; as text it is found in a row that is damaged too.
CREATE INDEX orders_unanswered ON orders (view_version, updated_at, id)
    WHERE state = 'PENDING' OR (state = 'CONFIRMED' AND body NOT LIKE '%"allocated_at":"%');
