-- The audit log of data.sql's local, in exactly :audit_events rows over the last :days days. Each hour gets its share
-- by how much is worked in it (Los Angeles); within the hour events come in bursts of six, as one request writes several.

insert into audit_logs (id, table_name, record_id, action, old_values, new_values, changed_fields, changed_by, :event_time,
    ip_address, user_agent)
select
    -- Sequences are not gapless: rolled-back inserts leave small holes, a crash of the server one of 32.
    i + i / 97 * 3 + i / 5000 * 32,
    pg_temp.one_of(i, 70, '{members,members,members,dues_payments,dues_payments,students,users,grievances,dispatches,book_registrations}'),
    1 + pg_temp.dice(i, 71, :members), action,
    case when action in ('UPDATE', 'DELETE') then pg_temp.one_of(i, 72, array['{"status": "ACTIVE"}', '{"phone": "(213) 555-0101"}', '{"amount_paid": "0.00"}'])::jsonb end,
    case when action in ('UPDATE', 'CREATE') then pg_temp.one_of(i, 72, array['{"status": "RETIRED"}', '{"phone": "(213) 555-0199"}', '{"amount_paid": "62.00"}'])::jsonb end,
    case when action = 'UPDATE' then pg_temp.one_of(i, 72, array['["status"]', '["phone"]', '["amount_paid"]'])::jsonb end,
    case when pg_temp.dice(i, 73, 30) > 0 then 'staff' || 1 + pg_temp.dice(i, 74, :users) || '@local.example' end,
    -- One row in a hundred belongs to a transaction that began up to 90 s before it got its id.
    start + seconds * interval '1 second' - case when pg_temp.dice(i, 75, 100) = 0 then 1 + pg_temp.dice(i, 76, 90) else 0 end * interval '1 second',
    '10.20.' || pg_temp.dice(i, 77, 8) || '.' || pg_temp.dice(i, 78, 254) + 1,
    pg_temp.one_of(i, 79, '{Mozilla/5.0 (Windows NT 10.0) Firefox/143.0,Mozilla/5.0 (Macintosh) Chrome/141.0,UnionCore-Mobile/2.1}')
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
