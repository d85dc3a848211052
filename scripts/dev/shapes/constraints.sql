-- What both shapes have in common, and what can wait until the tables are filled: the keys, the only indexes
-- beside them, and the triggers that make the audit log immutable.

alter table alembic_version add constraint alembic_version_pkc primary key (version_num);
alter table members add primary key (id);
alter table members add unique (member_number);
alter table users add primary key (id);
alter table users add unique (email);
alter table users add unique (member_id);
alter table users add foreign key (member_id) references members (id);
alter table audit_logs add primary key (id);
create index ix_audit_logs_record_id on audit_logs (record_id);
create index ix_audit_logs_table_name on audit_logs (table_name);
alter table dues_periods add primary key (id);
alter table dues_periods add unique (period_year, period_month);
alter table dues_payments add primary key (id);
alter table dues_payments add unique (receipt_number);
alter table dues_payments add foreign key (member_id) references members (id);
alter table dues_payments add foreign key (period_id) references dues_periods (id);
alter table dues_payments add foreign key (processed_by_id) references users (id);
alter table dues_adjustments add primary key (id);
alter table dues_adjustments add foreign key (member_id) references members (id);
alter table dues_adjustments add foreign key (payment_id) references dues_payments (id);
alter table students add primary key (id);
alter table students add unique (member_id);
alter table students add unique (student_number);
alter table students add foreign key (member_id) references members (id);
create index ix_students_status on students (status);
alter table refresh_tokens add primary key (id);
alter table refresh_tokens add unique (token_hash);
alter table refresh_tokens add foreign key (user_id) references users (id) on delete cascade;
alter table email_tokens add primary key (id);
alter table email_tokens add unique (token_hash);
alter table email_tokens add foreign key (user_id) references users (id) on delete cascade;
alter table member_notes add primary key (id);
alter table member_notes add foreign key (member_id) references members (id);
alter table member_notes add foreign key (created_by_id) references users (id);
alter table referral_books add primary key (id);
alter table referral_books add unique (code);
alter table book_registrations add primary key (id);
alter table book_registrations add foreign key (member_id) references members (id);
alter table book_registrations add foreign key (book_id) references referral_books (id);
alter table labor_requests add primary key (id);
alter table labor_requests add foreign key (book_id) references referral_books (id);
alter table dispatches add primary key (id);
alter table dispatches add foreign key (labor_request_id) references labor_requests (id);
alter table dispatches add foreign key (member_id) references members (id);
alter table grievances add primary key (id);
alter table grievances add unique (grievance_number);
alter table grievances add foreign key (member_id) references members (id);
alter table benevolence_applications add primary key (id);
alter table benevolence_applications add foreign key (member_id) references members (id);
alter table grants add primary key (id);

create function prevent_audit_modification() returns trigger language plpgsql as $$
begin
    raise exception
        'Audit logs are immutable. UPDATE and DELETE operations are prohibited for NLRA compliance.';
end;
$$;
create trigger audit_logs_prevent_update before update on audit_logs
    for each row execute function prevent_audit_modification();
create trigger audit_logs_prevent_delete before delete on audit_logs
    for each row execute function prevent_audit_modification();
