-- The halls, cases and grants of data.sql's local: small tables, in proportion to its members.

insert into referral_books (code, name, is_active, created_at, updated_at)
select code, initcap(replace(code, '_', ' ')), true, :'now'::timestamp - interval '900 days', :'now'::timestamp - interval '30 days'
from unnest('{WIRE_NORTH,WIRE_SOUTH,SOUND_COMM,TECHNICIAN,TRADESHOW,STOCKPERSON,RESIDENTIAL,UTILITY}'::text[]) with ordinality book (code, i)
order by i;

insert into book_registrations (member_id, book_id, status, registration_date, re_sign_deadline, created_at, updated_at)
select 1 + pg_temp.dice(i, 100, :members), 1 + pg_temp.dice(i, 101, 8), cast(pg_temp.word(status) as :registration_status), signed,
    case when status = 'REGISTERED' then signed + 30 end, signed::timestamp, signed::timestamp
from (select i, :'today'::date - pg_temp.dice(i, 102, 33) as signed,
        pg_temp.one_of(i, 103, '{REGISTERED,REGISTERED,REGISTERED,DISPATCHED,ROLLED_OFF,RESIGNED,EXEMPT}') as status
      from generate_series(1, :members / 5) i) drawn
order by i;

insert into labor_requests (book_id, employer_name, status, workers_requested, workers_dispatched, start_date, created_at, updated_at)
select 1 + pg_temp.dice(i, 110, 8), 'Contractor ' || 1 + pg_temp.dice(i, 111, 60), cast(pg_temp.word(status) as :request_status), wanted,
    case status when 'FILLED' then wanted when 'PARTIALLY_FILLED' then wanted / 2 else 0 end, asked, asked::timestamp, asked::timestamp
from (select i, :'today'::date - pg_temp.dice(i, 112, 200) as asked, 2 + pg_temp.dice(i, 113, 12) as wanted,
        pg_temp.one_of(i, 114, '{OPEN,PARTIALLY_FILLED,FILLED,FILLED,FILLED,FILLED,CANCELLED,EXPIRED}') as status
      from generate_series(1, 1 + :members / 20) i) drawn
order by i;

insert into dispatches (labor_request_id, member_id, dispatch_status, dispatch_date, created_at, updated_at)
select 1 + pg_temp.dice(i, 120, 1 + :members / 20), 1 + pg_temp.dice(i, 121, :members),
    cast(pg_temp.word(pg_temp.one_of(i, 122, '{DISPATCHED,CHECKED_IN,WORKING,WORKING,WORKING,COMPLETED,COMPLETED,TERMINATED,REJECTED,NO_SHOW}')) as :dispatch_status),
    sent, sent, sent
from (select i, :'now'::timestamp - pg_temp.dice(i, 123, 200 * 86400) * interval '1 second' as sent from generate_series(1, :members / 6) i) drawn
order by i;

insert into grievances (grievance_number, member_id, employer_name, status, filed_date, created_at, updated_at :soft)
select 'G' || to_char(i, 'FM00000'), 1 + pg_temp.dice(i, 130, :members), 'Contractor ' || 1 + pg_temp.dice(i, 131, 60),
    cast(pg_temp.word(('{OPEN,INVESTIGATION,CLOSED,HEARING,SETTLED,WITHDRAWN,ARBITRATION,CLOSED,SETTLED}'::text[])[1 + i % 9]) as :grievance_status),
    updated_at::date, updated_at, updated_at :soft_values
from (select i, i % 30 = 17 as gone, :'now'::timestamp - pg_temp.dice(i, 133, 300 * 86400) * interval '1 second' as updated_at
      from generate_series(1, :members / 60) i) drawn
order by i;

insert into benevolence_applications (member_id, reason, amount_requested, approved_amount, status, application_date, created_at, updated_at :soft)
select 1 + pg_temp.dice(i, 140, :members), pg_temp.one_of(i, 141, '{Medical,Housing,Funeral,Hardship}'), wanted,
    case when status in ('APPROVED', 'PAID') then wanted end, cast(pg_temp.word(status) as :benevolence_status),
    updated_at::date, updated_at, updated_at :soft_values
from (select i, i % 30 = 19 as gone, (5 + pg_temp.dice(i, 142, 40)) * 50 as wanted,
        ('{DRAFT,PAID,SUBMITTED,UNDER_REVIEW,PAID,APPROVED,DENIED,PAID}'::text[])[1 + i % 8] as status,
        :'now'::timestamp - pg_temp.dice(i, 144, 300 * 86400) * interval '1 second' as updated_at
      from generate_series(1, :members / 75) i) drawn
order by i;

insert into grants (name, status, start_date, end_date, next_report_due, spent_amount, total_amount, created_at, updated_at :soft)
select 'Training grant ' || i, cast(status as :grant_status), begun, begun + 730, case when status = 'active' then :'today'::date - 5 + 14 * i::int end,
    round(total * case status when 'pending' then 0 when 'active' then 0.1 * (i % 8) else 1 end, 2), total, begun::timestamp, updated_at :soft_values
from (select i, i = 9 as gone, :'now'::timestamp - i * interval '8 days' as updated_at, (2 + pg_temp.dice(i, 150, 20)) * 12500.0 as total, :'today'::date - 60 - pg_temp.dice(i, 151, 500) as begun,
        (array['active', 'active', 'pending', 'completed', 'active', 'closed', 'suspended'])[1 + i % 7] as status
      from generate_series(1, 10) i) drawn
order by i;

insert into dues_adjustments (member_id, payment_id, amount, reason, status, created_at, updated_at)
select member_id, id, -10 - pg_temp.dice(id, 160, 40), pg_temp.one_of(id, 161, '{Hardship,Clerical error,Late transfer}'),
    cast(pg_temp.word(pg_temp.one_of(id, 162, '{PENDING,APPROVED,APPROVED,DENIED}')) as :adjustment_status), created_at, updated_at
from dues_payments where id % 100 = 0
order by id;

insert into member_notes (member_id, created_by_id, note_text, visibility, category)
select 1 + pg_temp.dice(i, 170, :members), 1 + pg_temp.dice(i, 171, :users), 'Called about ' || pg_temp.one_of(i, 172, '{dues,referral,benefits,a grievance}'),
    pg_temp.one_of(i, 173, '{staff_only,officers,all_authorized}'), 'general'
from generate_series(1, :members / 10) i
order by i;

-- A sequence that was advanced in the transaction that made it is not crash-safe with wal_level=minimal: the values
-- that it hands out next count as logged, but are not. Setting it ends that.
select format('select setval(%1$L, last_value, is_called) from %1$s', oid::regclass)
from pg_class where relkind = 'S' and relnamespace = current_schema()::regnamespace \gexec
