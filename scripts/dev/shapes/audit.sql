-- The audit log of data.sql's local, in exactly :audit_events rows over the last :days days. Each hour gets its share
-- by how much is worked in it (Los Angeles); within the hour events come in bursts of six, as one request writes several.

-- A record that is created or deleted is in the log whole.
\set records '\'{"id": 4711, "member_number": "M-004711", "first_name": "Maria", "last_name": "Gonzalez", "address": "1420 W Sunset Blvd", "city": "Los Angeles", "state": "CA", "zip_code": "90026", "phone": "(213) 555-0101", "email": "maria.gonzalez@mail.example", "status": "ACTIVE", "classification": "JOURNEYMAN", "hire_date": "2014-03-17", "is_deleted": false}\', \'{"id": 90210, "member_id": 4711, "period_id": 87, "amount_due": "62.00", "amount_paid": "62.00", "payment_date": "2026-03-02", "payment_method": "PAYROLL_DEDUCTION", "status": "PAID", "reference_number": "PR-2026-03-0471", "receipt_number": "R-0090210", "processed_by_id": 12, "is_deleted": false}\', \'{"id": 815, "member_id": 2291, "student_number": "S-00815", "status": "ENROLLED", "application_date": "2025-05-04", "enrollment_date": "2025-08-25", "expected_completion_date": "2030-06-14", "cohort": "2025-B", "is_deleted": false}\''

insert into audit_logs (id, table_name, record_id, action, old_values, new_values, changed_fields, changed_by, :event_time,
    ip_address, user_agent)
select
    -- Sequences are not gapless: rolled-back inserts leave small holes, a crash of the server one of 32.
    i + i / 97 * 3 + i / 5000 * 32,
    pg_temp.one_of(i, 70, '{members,members,members,dues_payments,dues_payments,students,users,grievances,dispatches,book_registrations}'),
    1 + pg_temp.dice(i, 71, :members), action,
    case action when 'UPDATE' then pg_temp.one_of(i, 72, array['{"status": "ACTIVE"}', '{"phone": "(213) 555-0101"}', '{"amount_paid": "0.00"}'])
        when 'DELETE' then pg_temp.one_of(i, 83, array[:records]) end::jsonb,
    case action when 'UPDATE' then pg_temp.one_of(i, 72, array['{"status": "RETIRED"}', '{"phone": "(213) 555-0199"}', '{"amount_paid": "62.00"}'])
        when 'CREATE' then pg_temp.one_of(i, 83, array[:records]) end::jsonb,
    case when action = 'UPDATE' then pg_temp.one_of(i, 72, array['["status"]', '["phone"]', '["amount_paid"]'])::jsonb end,
    case when pg_temp.dice(i, 73, 30) > 0 then 'staff' || 1 + pg_temp.dice(i, 74, :users) || '@local.example' end,
    -- One row in a hundred belongs to a transaction that began up to 90 s before it got its id.
    start + seconds * interval '1 second' - case when pg_temp.dice(i, 75, 100) = 0 then 1 + pg_temp.dice(i, 76, 90) else 0 end * interval '1 second',
    '10.20.' || pg_temp.dice(i, 77, 8) || '.' || pg_temp.dice(i, 78, 254) + 1,
    pg_temp.one_of(i, 79, array[
        'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36 Edg/141.0.0.0',
        'Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Safari/605.1.15',
        'Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:143.0) Gecko/20100101 Firefox/143.0'])
from (
    select *, first + k + 1 as i, case when mix < 700 then 'READ' when mix < 740 then 'BULK_READ' when mix < 840 then 'CREATE'
            when mix < 980 then 'UPDATE' else 'DELETE' end as action,
        room * (k - k % 6) / n + (room * size / n - burst) * pg_temp.dice(first + k - k % 6, 80, 1000) / 1000
            + burst * (k % 6 + pg_temp.dice(first + k, 81, 1000) / 1000.0::float8) / size as seconds
    from (
        select first, start, room, last - first as n, least(6, last - first - (k - k % 6)) as size, k,
            least(room * least(6, last - first - (k - k % 6)) / (last - first), 8) as burst, pg_temp.dice(first + k, 82, 1000) as mix
        from (
            select start, room, div(:audit_events * (sum(share) over hours - share), sum(share) over ())::bigint as first,
                div(:audit_events * sum(share) over hours, sum(share) over ())::bigint as last
            from (
                select start, extract(epoch from stop - start)::float8 as room, extract(epoch from stop - start)::bigint *
                    case when day < 6 and hour between 8 and 16 then 100 when day < 6 and hour in (7, 17, 18, 19) then 15
                        when day = 6 and hour between 9 and 13 then 10 else 1 end as share
                from (
                    select greatest(at, :'now'::timestamp - :days * interval '1 day') as start, least(at + interval '1 hour', :'now'::timestamp) as stop,
                        extract(isodow from at at time zone 'UTC' at time zone 'America/Los_Angeles') as day,
                        extract(hour from at at time zone 'UTC' at time zone 'America/Los_Angeles') as hour
                    from generate_series(date_trunc('hour', :'now'::timestamp - :days * interval '1 day'), :'now'::timestamp, interval '1 hour') at
                ) hour_of_day
                where stop > start
            ) weighed
            window hours as (order by start)
        ) spread,
        lateral generate_series(0, last - first - 1) k
    ) slots
) events
order by i;

select setval(pg_get_serial_sequence('audit_logs', 'id'), coalesce(max(id), 0) + 8) from audit_logs;
